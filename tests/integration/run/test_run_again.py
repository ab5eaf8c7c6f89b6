"""The same command a second time, and what it does with an output that is there."""

from __future__ import annotations

from collections import Counter

from keyfleet.sim import SimConfig, SimLatency
from support import Place, bare_line, errors_of, lines_answered, rows_of, sim_key, wait_until, write_lines
from support.fixtures import StartSim

KEY = sim_key("a")
LINES = 20


def prepare(place: Place, start_sim: StartSim, *, latency_ms: float = 5, bad: int = 0) -> None:
    """A job of which the first `bad` lines are refused by the provider."""
    sim = start_sim(SimConfig(keys=(KEY,), latency=SimLatency(latency_ms=latency_ms)))
    place.write_keys(sim, (KEY,))
    lines = [bare_line(n, "[[sim:400x1]]" if n <= bad else "") for n in range(1, LINES + 1)]
    write_lines(place.directory / "in.jsonl", lines)


def test_a_finished_job_has_nothing_to_do_and_the_same_exit_code(place: Place, start_sim: StartSim) -> None:
    prepare(place, start_sim, bad=2)
    assert place.run("run", "in.jsonl").code == 1
    before = (place.directory / "in_results.jsonl").read_bytes()
    again = place.run("run", "in.jsonl")
    assert again.code == 1
    assert again.said("nothing to do")
    assert again.said("2 failed; --retry-failed sends those again")
    assert (place.directory / "in_results.jsonl").read_bytes() == before


def test_retry_failed_puts_new_outcomes_in_the_places_of_the_old(place: Place, start_sim: StartSim) -> None:
    prepare(place, start_sim, bad=3)
    output = place.directory / "in_results.jsonl"
    assert place.run("run", "in.jsonl", "--ordered").code == 1
    assert len(errors_of(output)) == 3
    retried = place.run("run", "in.jsonl", "--ordered", "--retry-failed")
    assert retried.code == 0, retried.stderr
    assert lines_answered(output) == Counter(range(1, LINES + 1))
    asked = [row[0]["messages"][0]["content"].split()[1] for row in rows_of(output)]
    assert asked == sorted(asked)
    assert place.run("run", "in.jsonl", "--ordered").code == 0


def test_an_input_that_only_grew_is_continued(place: Place, start_sim: StartSim) -> None:
    prepare(place, start_sim)
    assert place.run("run", "in.jsonl").code == 0
    with (place.directory / "in.jsonl").open("a", encoding="utf-8") as file:
        file.write(bare_line(LINES + 1) + "\n")
    grown = place.run("run", "in.jsonl")
    assert grown.code == 0, grown.stderr
    assert grown.said("1 succeeded, 0 failed")
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 2))


def test_a_changed_input_is_refused_and_nothing_is_touched(place: Place, start_sim: StartSim) -> None:
    prepare(place, start_sim)
    assert place.run("run", "in.jsonl").code == 0
    output = place.directory / "in_results.jsonl"
    before = output.read_bytes()
    write_lines(place.directory / "in.jsonl", [bare_line(n + 100) for n in range(1, LINES + 1)])
    refused = place.run("run", "in.jsonl")
    assert refused.code == 2
    assert refused.said("in.jsonl")
    assert output.read_bytes() == before
    assert place.run("run", "in.jsonl", "--overwrite").code == 0
    assert lines_answered(output) == Counter(range(101, LINES + 101))


def test_an_output_that_is_not_ours_is_refused_unless_overwritten(place: Place, start_sim: StartSim) -> None:
    prepare(place, start_sim)
    output = write_lines(place.directory / "mine.jsonl", ["precious"])
    refused = place.run("run", "in.jsonl", "-o", "mine.jsonl")
    assert refused.code == 2
    assert refused.said("--overwrite")
    assert output.read_text(encoding="utf-8") == "precious\n"
    assert place.run("run", "in.jsonl", "-o", "mine.jsonl", "--overwrite").code == 0
    assert lines_answered(output) == Counter(range(1, LINES + 1))


def test_a_second_identical_command_is_refused_while_the_first_runs(place: Place, start_sim: StartSim) -> None:
    prepare(place, start_sim, latency_ms=1500)
    first = place.start("run", "in.jsonl")
    wait_until((place.directory / "in_results.jsonl.keyfleet").exists, "the first run has its journal")
    second = place.run("run", "in.jsonl")
    assert second.code == 2
    assert second.said("another keyfleet run")
    assert first.wait() == 0, first.stderr


def test_retry_failed_and_overwrite_contradict_each_other(place: Place, start_sim: StartSim) -> None:
    prepare(place, start_sim)
    assert place.run("run", "in.jsonl", "--retry-failed", "--overwrite").code == 2
