"""`keyfleet status` beside a real run on a broker that a fleet shares."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from keyfleet.sim import SimConfig
from support import Place, ServerProcess, bare_line, sim_key, wait_until, write_lines, written_lines
from support.fixtures import StartSim

KEY = sim_key("a", "5/minute")
LINES = 40


@pytest.fixture
def waiting(place: Place, start_sim: StartSim, broker: ServerProcess) -> Path:
    """A job that waits for a limit of its only key that has a worker; returns its output."""
    place.settings["KEYFLEET_BROKER_URL"] = broker.url
    sim = start_sim(SimConfig(keys=(KEY,)))
    place.write_keys(sim, (KEY,))
    write_lines(place.directory / "in.jsonl", [bare_line(number) for number in range(1, LINES + 1)])
    place.start("worker", "--all")
    place.start("run", "in.jsonl", "--no-workers")
    output = place.directory / "in_results.jsonl"
    wait_until(lambda: written_lines(output) == 5, "the limit is used up")
    return output


def document(place: Place) -> Any:
    shown = place.run("status", "--json")
    assert shown.code == 0, shown.stderr
    (fleet,) = json.loads(shown.stdout)
    return fleet


@pytest.mark.usefixtures("waiting")
def test_keys_queues_and_jobs_are_shown_and_why_they_wait(place: Place) -> None:
    wait_until(
        lambda: document(place)["queues"][0]["why"] == "5 requests per 60 s", "the worker says what it waits for"
    )
    fleet = document(place)
    (key,), (queue,), (job,) = fleet["keys"], fleet["queues"], fleet["jobs"]
    assert (key["name"], key["state"], key["requests_per_minute"], list(key["workers"].values())) == (
        "a",
        "ready",
        5,
        [1],
    )
    assert [(limit["used"], limit["left"]) for quota in key["quotas"] for limit in quota["limits"]] == [(5, 0)]
    assert (queue["waiting"], queue["keys"]) == (LINES - 5, 1)
    assert 0 < queue["wait_s"] <= 60
    assert (job["name"], job["state"], job["total"], job["succeeded"]) == ("in.jsonl", "running", LINES, 5)
    shown = place.run("status").stdout
    assert "5 requests/min" in shown
    assert "5 requests per 60 s" in shown


@pytest.mark.usefixtures("waiting")
def test_one_sentence_says_why_a_job_or_a_request_waits(place: Place) -> None:
    def says(what: str) -> str:
        said = place.run("status", what)
        assert said.code == 0, said.stderr
        return said.stdout

    wait_until(lambda: "more for 5 requests per 60 s" in says("in.jsonl"), "the limit is named")
    assert "in.jsonl) is running: 5 of 40 requests are done; " in says("in.jsonl")
    assert "(in.jsonl) waits behind 34 others for " in says("in.jsonl:40")
    assert "line 1 of job " in says("in.jsonl:1")
    unknown = place.run("status", "nonsense")
    assert (unknown.code, unknown.said("nonsense: there is no such job here")) == (2, True)
    assert place.run("jobs", "pause", "in.jsonl").code == 0
    assert "waits because its job is paused" in says("in.jsonl:40")


@pytest.mark.usefixtures("waiting")
def test_it_is_watched_until_it_is_interrupted(place: Place) -> None:
    watched = place.start("status", "--watch", "--json")
    wait_until(lambda: watched.stdout.count("\n") >= 2, "two looks")
    watched.signal(signal.SIGINT)
    assert watched.wait() == 130
    assert [json.loads(line)[0]["fleet"] for line in watched.stdout.splitlines()[:2]] == ["main"] * 2


def test_where_nothing_ever_ran_nothing_is_started(place: Place) -> None:
    shown = place.run("status")
    assert (shown.code, shown.stdout.strip()) == (0, "no fleet is known here")
    assert not place.state_dir.exists()
