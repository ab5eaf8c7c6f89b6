"""`keyfleet jobs` beside real runs: listing, cancelling, retrying by reason, and removing."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import Any

import pytest

from keyfleet.sim import SimConfig, SimLatency, SimProcess
from support import (
    Command,
    Place,
    ServerProcess,
    bare_line,
    lines_answered,
    sim_key,
    wait_until,
    write_lines,
    written_lines,
)
from support.fixtures import StartSim

KEY = sim_key("a")
LINES = 60
CONCURRENCY = 4


def prepare(place: Place, start_sim: StartSim, lines: list[str], *, latency_ms: float = 5) -> SimProcess:
    sim = start_sim(SimConfig(keys=(KEY,), latency=SimLatency(latency_ms=latency_ms)))
    place.write_keys(sim, (KEY,))
    write_lines(place.directory / "in.jsonl", lines)
    return sim


def jobs(place: Place, *arguments: str) -> Any:
    """What `jobs … --json` says."""
    command = place.run("jobs", *arguments, "--json")
    assert command.code == 0, command.stderr
    return json.loads(command.stdout)


def job(place: Place, *arguments: str) -> Any:
    (found,) = jobs(place, *arguments)
    return found


def reasons(place: Place) -> dict[str, int]:
    return {group["reason"]: group["count"] for group in jobs(place, "failed", "in.jsonl")}


def begin(place: Place, *arguments: str, rows: int = 5) -> Command:
    """A run in its midst."""
    command = place.start("run", "in.jsonl", "--concurrency", str(CONCURRENCY), *arguments)
    output = place.directory / "in_results.jsonl"
    wait_until(lambda: written_lines(output) >= rows or command.code is not None, "results are written")
    assert command.code is None, command.stderr
    return command


def calls(sim: SimProcess) -> int:
    return int(sim.stats()["requests"])


def test_where_no_job_was_ever_run_there_is_nothing_to_list_and_nothing_is_started(place: Place) -> None:
    assert jobs(place) == []
    assert not place.state_dir.exists()
    assert place.run("jobs", "failed", "in.jsonl").code == 2


def test_a_run_is_listed_and_cancelled_in_its_midst_and_goes_on_with_the_same_command(
    place: Place, start_sim: StartSim
) -> None:
    sim = prepare(place, start_sim, [bare_line(n) for n in range(1, LINES + 1)], latency_ms=250)
    run = begin(place)
    listed = job(place)
    assert (listed["name"], listed["state"]) == ("in.jsonl", "running")
    assert listed["output"] == str(place.directory / "in_results.jsonl")
    assert listed["accepted"] == LINES
    assert sum(listed["open"].values()) + listed["succeeded"] == pytest.approx(LINES, abs=2 * CONCURRENCY)

    cancelled = place.run("jobs", "cancel", "in.jsonl")
    calls_at_cancel = calls(sim)
    assert cancelled.code == 0, cancelled.stderr
    assert run.wait() == 3, run.stderr
    assert run.said("the job was cancelled")
    assert calls(sim) <= calls_at_cancel + CONCURRENCY, "what waited was sent all the same"
    answered = lines_answered(place.directory / "in_results.jsonl")
    assert len(answered) == calls(sim) < LINES, "a call in flight was not recorded"
    listed = job(place)
    assert (listed["state"], sum(listed["open"].values())) == ("cancelled", 0)
    assert (listed["accepted"], listed["succeeded"]) == (len(answered), len(answered))

    assert place.run("run", "in.jsonl").code == 0
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
    assert calls(sim) == LINES
    assert job(place)["state"] == "done"
    assert place.run("jobs", "cancel", "in.jsonl").code == 2


def test_a_run_is_paused_in_its_midst_says_so_and_goes_on_when_it_is_resumed(place: Place, start_sim: StartSim) -> None:
    sim = prepare(place, start_sim, [bare_line(n) for n in range(1, LINES + 1)], latency_ms=100)
    run = begin(place, "--give-up-after", "3s")
    paused = place.run("jobs", "pause", "in.jsonl")
    assert paused.code == 0, paused.stderr
    calls_at_pause = calls(sim)
    wait_until(lambda: run.said("it is paused"), "the run says why it waits")
    assert calls(sim) <= calls_at_pause + CONCURRENCY < LINES, "what waited was sent all the same"
    listed = job(place)
    assert (listed["state"], listed["total"], listed["open"]["running"]) == ("paused", LINES, 0)
    assert run.code is None, run.stderr

    assert place.run("jobs", "resume", "in.jsonl").code == 0
    assert run.wait() == 0, run.stderr
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
    assert calls(sim) == LINES
    refused = place.run("jobs", "pause", "in.jsonl")
    assert (refused.code, refused.said("is done, so there is nothing to pause")) == (2, True)


def test_failures_are_shown_and_retried_by_reason(place: Place, start_sim: StartSim) -> None:
    faults = {2: "[[sim:400x1]]", 3: "[[sim:400x1]]", 4: "[[sim:422x1]]"}
    lines = [bare_line(n, faults.get(n, "")) for n in range(1, 11)]
    sim = prepare(place, start_sim, [*lines, "no JSON"])
    assert place.run("run", "in.jsonl", "--ordered").code == 1
    assert reasons(place) == {"400 invalid_value": 2, "422 invalid_request_error": 1, "invalid_json": 1}
    (group,) = (one for one in jobs(place, "failed", "in_results.jsonl") if one["reason"].startswith("422"))
    assert (group["example"]["line"], group["example"]["message"]) == (4, "The request could not be processed.")

    before = calls(sim)
    retried = place.run("jobs", "retry", "in.jsonl", "--reason", "400")
    assert retried.code == 1, retried.stderr
    assert calls(sim) == before + 2
    assert reasons(place) == {"422 invalid_request_error": 1, "invalid_json": 1}
    listed = job(place)
    assert (listed["state"], listed["accepted"], listed["succeeded"], listed["failed"]) == ("done", 11, 9, 2)
    assert place.run("jobs", "retry", listed["id"][:8], "--no-progress").code == 1  # the line that is no JSON
    assert reasons(place) == {"invalid_json": 1}
    answered = lines_answered(place.directory / "in_results.jsonl")
    assert list(answered) == list(range(1, 11))
    shown = place.run("jobs", "failed", "in.jsonl").stdout
    assert "invalid_json" in shown
    assert "line 11" in shown


def test_an_interrupted_job_is_removed_and_can_still_be_gone_on_with(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    place.settings["KEYFLEET_BROKER_URL"] = broker.url
    sim = prepare(place, start_sim, [bare_line(n) for n in range(1, LINES + 1)], latency_ms=250)
    run = begin(place, "--workers")
    refused = place.run("jobs", "purge", "in.jsonl")
    assert (refused.code, refused.said("a producer runs it")) == (1, True)
    run.signal(signal.SIGINT)
    assert run.wait() == 130
    assert job(place)["state"] == "interrupted"
    assert place.run("jobs", "purge", "--all-done").code == 0
    assert len(jobs(place)) == 1, "it isn't done"
    assert place.run("jobs", "purge", "in.jsonl").code == 0
    assert jobs(place) == []
    with broker.client() as client:
        assert list(client.scan_iter("*:job:*")) == []
    assert place.run("run", "in.jsonl", "--workers").code == 0
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
    assert calls(sim) == LINES


def test_a_job_whose_producer_was_killed_is_cancelled_as_well(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    place.settings["KEYFLEET_BROKER_URL"] = broker.url
    sim = prepare(place, start_sim, [bare_line(n) for n in range(1, LINES + 1)], latency_ms=250)
    place.start("worker", "--all", "--concurrency", str(CONCURRENCY))
    run = begin(place, "--no-workers")
    run.end()
    assert job(place)["state"] == "running", "it was seen a moment ago"
    assert place.run("jobs", "cancel", "in.jsonl").code == 0
    wait_until(lambda: sum(job(place)["open"].values()) == 0, "calls in flight have ended")
    sent = calls(sim)
    assert sent < LINES
    assert job(place)["succeeded"] == sent
    again = place.run("run", "in.jsonl", "--no-workers")
    assert again.code == 0, again.stderr
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
    assert calls(sim) == LINES, "an answer that nobody had collected was paid for twice"
