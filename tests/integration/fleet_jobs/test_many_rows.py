"""Jobs of many rows: in flat memory, and in fewer calls where they may share them."""

from __future__ import annotations

from keyfleet import ProviderError
from keyfleet.sim import SimConfig
from support.fixtures import StartSim
from support.fleets import MakeFleet
from support.job_programs import start_job_program, wait_until_printed
from support.place import Place, sim_key

ROW_KB = 20
FEW, MANY = 150, 1500

MEASURE = f"""
import resource
with Fleet() as fleet:
    text = "x " * {ROW_KB * 512}
    found = sum(result.ok for result in fleet.map(rows(COUNT, text), window=40))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
say("peak_kb", peak if sys.platform != "darwin" else peak // 1024)
say("found", found)
"""


def test_memory_does_not_grow_with_the_number_of_rows(place: Place, start_sim: StartSim) -> None:
    key = sim_key("a")
    sim = start_sim(SimConfig(keys=(key,)))
    place.write_keys(sim, (key,))
    peaks_kb = []
    for count in (FEW, MANY):
        program = start_job_program(place, MEASURE.replace("COUNT", str(count)))
        assert program.wait(90) == 0, program.stderr
        peaks_kb.append(int(wait_until_printed(program, "peak_kb")))
        assert int(wait_until_printed(program, "found")) == count
    assert peaks_kb[1] - peaks_kb[0] < (MANY - FEW) * ROW_KB / 2, peaks_kb


def test_rows_that_differ_in_one_input_share_calls_and_each_has_its_own_result(
    make_fleet: MakeFleet, place: Place, start_sim: StartSim
) -> None:
    key = sim_key("a", "5/1 second")
    sim = start_sim(SimConfig(keys=(key,), track_inputs=True))
    place.write_keys(sim, (key,))
    texts = [f"row {number}" if number != 7 else "[[sim:400]]" for number in range(60)]
    with make_fleet() as fleet:
        rows = ({"model": "sim-model", "input": text} for text in texts)
        found = {result.index: result for result in fleet.map(rows, endpoint="/v1/embeddings", id="input", pack=True)}
    assert [found[index].id for index in range(60)] == texts
    assert [index for index, result in found.items() if not result.ok] == [7]
    assert isinstance(found[7].error, ProviderError)
    assert all(len(result.body["data"]) == 1 for result in found.values() if result.ok)
    assert sim.stats()["requests"] < 30
