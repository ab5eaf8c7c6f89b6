"""`keyfleet run --pack`: requests that share calls end as if each had been alone."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from keyfleet.sim import SimConfig, SimKey, SimLatency, SimProcess
from support import (
    Place,
    bare_line,
    children_of,
    limits_exceeded,
    repeats_in,
    rows_of,
    signal_all,
    sim_key,
    wait_until,
    write_lines,
    written_lines,
)
from support.fixtures import StartSim

TOKENS_OF_A_LINE = 3
"""What a line without further text costs at the stand-in."""


def embedding_line(number: int, text: str = "", **fields: Any) -> str:
    return json.dumps({"model": "sim-model", "input": f"line {number:05d}{text}", **fields})


def completion_line(number: int, **fields: Any) -> str:
    return json.dumps({"model": "sim-model", "prompt": f"line {number:05d}", "max_tokens": 4, **fields})


class Packed:
    """A job at a place, and its stand-in."""

    def __init__(self, place: Place, start_sim: StartSim, keys: tuple[SimKey, ...], **config: Any) -> None:
        self.place = place
        self.sim: SimProcess = start_sim(SimConfig(keys=keys, track_inputs=True, **config))
        place.write_keys(self.sim, keys)

    def write(self, lines: list[str]) -> None:
        self.lines = len(lines)
        write_lines(self.place.directory / "in.jsonl", lines)

    def run(self, *options: str, name: str = "out.jsonl") -> dict[int, Any]:
        """Run the job; the row of each line by its number."""
        command = self.place.run("run", "in.jsonl", "-o", name, *options)
        assert command.code in (0, 1), command.stderr
        return self.rows(name)

    def rows(self, name: str = "out.jsonl") -> dict[int, Any]:
        rows = rows_of(self.output(name))
        assert len(rows) == self.lines
        found = {number_of(row): row for row in rows}
        assert sorted(found) == list(range(1, self.lines + 1))
        return found

    def output(self, name: str = "out.jsonl") -> Path:
        return self.place.directory / name

    def calls(self) -> int:
        """Calls since the last look, in which no input was sent twice and no limit exceeded."""
        stats = self.sim.stats()
        assert repeats_in(stats) == 0
        assert (stats["over_limit"], limits_exceeded(stats)) == (0, [])
        self.sim.reset()
        return int(stats["requests"])


def number_of(row: Any) -> int:
    """The line of a row, whose answer must be its own."""
    request = row[0]
    return int((request.get("input") or request.get("prompt"))[5:10])


def failed(rows: dict[int, Any]) -> dict[int, str]:
    """The errors of lines that have no answer."""
    return {number: " | ".join(row[1]) for number, row in rows.items() if isinstance(row[1], list)}


def wait_for_rows(job: Packed, rows: int) -> None:
    wait_until(lambda: written_lines(job.output()) >= rows, f"{rows} rows are written")


@pytest.mark.parametrize("form", ["float", "base64"])
def test_embeddings_that_share_calls_are_those_of_calls_alone(place: Place, start_sim: StartSim, form: str) -> None:
    job = Packed(place, start_sim, (sim_key("a"), sim_key("b")))
    job.write([embedding_line(n, encoding_format=form, metadata={"row": n}) for n in range(1, 301)])
    alone = job.run(name="alone.jsonl")
    assert job.calls() == 300
    packed = job.run("--pack", name="packed.jsonl")
    assert job.calls() < 100
    assert packed == alone


def test_completions_that_share_calls_are_those_of_calls_alone(place: Place, start_sim: StartSim) -> None:
    job = Packed(place, start_sim, (sim_key("a"),))
    job.write([completion_line(n, n=2) for n in range(1, 101)])
    alone = job.run(name="alone.jsonl")
    assert job.calls() == 100
    packed = job.run("--pack", name="packed.jsonl")
    assert job.calls() <= 40
    for number, (request, answer, *_) in packed.items():
        assert [choice["index"] for choice in answer["choices"]] == [0, 1]
        ours, theirs = ({**one, "id": "", "created": 0} for one in (answer, alone[number][1]))
        assert (request, ours) == (alone[number][0], theirs)


def test_one_bad_input_fails_alone_and_all_its_neighbours_succeed(place: Place, start_sim: StartSim) -> None:
    job = Packed(place, start_sim, (sim_key("a"),))
    job.write([embedding_line(n, "[[sim:400]]" if n == 77 else "") for n in range(1, 201)])
    errors = failed(job.run("--pack", "--concurrency", "1"))
    assert list(errors) == [77]
    assert "told to refuse this request" in errors[77]
    assert job.calls() < 60


def test_a_failure_that_passes_ends_nobody(place: Place, start_sim: StartSim) -> None:
    job = Packed(place, start_sim, (sim_key("a"),))
    job.write([embedding_line(n, "[[sim:500x1]]" if n == 7 else "") for n in range(1, 61)])
    assert failed(job.run("--pack", "--pack-inputs", "16")) == {}
    assert job.calls() < 40


def test_a_provider_that_takes_fewer_inputs_gets_smaller_calls(place: Place, start_sim: StartSim) -> None:
    job = Packed(place, start_sim, (sim_key("a"),), max_inputs=8)
    job.write([embedding_line(n) for n in range(1, 201)])
    assert failed(job.run("--pack")) == {}
    assert job.calls() < 150
    assert failed(job.run("--pack", "--pack-inputs", "8", name="told.jsonl")) == {}
    assert job.sim.stats()["by_status"] == {"200": job.calls()}


def test_where_requests_are_the_limit_sharing_calls_saves_them_and_exceeds_none(
    place: Place, start_sim: StartSim
) -> None:
    keys = (sim_key("a", "8/1 second", tokens="3000/1 second"), sim_key("b", "5/2 second"))
    job = Packed(place, start_sim, keys)
    job.write([embedding_line(n) for n in range(1, 1501)])
    assert failed(job.run("--pack")) == {}
    stats = job.sim.stats()
    assert sum(key["tokens_charged"] for key in stats["keys"].values()) == 1500 * TOKENS_OF_A_LINE
    assert job.calls() < 100


def test_what_can_not_share_calls_is_sent_as_ever(place: Place, start_sim: StartSim) -> None:
    job = Packed(place, start_sim, (sim_key("a"),))
    lists = [json.dumps({"model": "sim-model", "input": [f"{n} a", f"{n} b"]}) for n in range(1, 11)]
    write_lines(place.directory / "in.jsonl", [*[bare_line(n) for n in range(1, 11)], *lists])
    command = place.run("run", "in.jsonl", "--pack")
    assert command.code == 0, command.stderr
    assert job.calls() == 20


def test_a_job_goes_on_with_other_packing_after_its_producer_was_killed(place: Place, start_sim: StartSim) -> None:
    keys = (sim_key("a", "30/1 second"),)
    job = Packed(place, start_sim, keys, latency=SimLatency(latency_ms=50))
    job.write([embedding_line(n) for n in range(1, 121)])
    for options, rows in ((["--pack", "--pack-inputs", "2"], 20), (["--no-pack"], 50)):
        command = place.start("run", "in.jsonl", "-o", "out.jsonl", *options)
        wait_for_rows(job, rows)
        command.signal(signal.SIGKILL)
        command.wait()
    assert failed(job.run("--pack")) == {}
    assert job.calls() < 120


def test_a_worker_killed_in_a_shared_call_loses_nothing_and_that_call_alone_is_repeated(
    place: Place, start_sim: StartSim
) -> None:
    place.settings["KEYFLEET_LEASE_S"] = "2"
    job = Packed(place, start_sim, (sim_key("a"),), latency=SimLatency(latency_ms=700))
    job.write([embedding_line(n) for n in range(1, 401)])
    command = place.start("run", "in.jsonl", "-o", "out.jsonl", "--pack", "--pack-inputs", "20", "--concurrency", "2")
    wait_for_rows(job, 60)
    wait_until(lambda: job.sim.stats()["in_flight"] == 2, "two calls are under way")
    supervisor, *_ = place.pids("-m keyfleet worker --all")
    signal_all(children_of(supervisor), signal.SIGKILL)
    assert command.wait() == 0, command.stderr
    assert failed(job.rows()) == {}
    stats = job.sim.stats()
    assert stats["by_status"]["client_left"] == 2
    assert repeats_in(stats) == 0
    sent = sum(key["tokens_charged"] for key in stats["keys"].values()) // TOKENS_OF_A_LINE
    assert 400 < sent <= 440
