"""Flower's rows: what a chunk is, and what has become of its requests."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from keyfleet.sim import SimConfig
from support import Place, ServerProcess, bare_line, sim_key, wait_until, write_lines
from support.fixtures import StartSim
from support.fleets import MODEL
from support.flower import Flower

WORKER = f"one@{socket.gethostname()}"


@pytest.fixture
def flower(place: Place, broker: ServerProcess, start_sim: StartSim) -> Iterator[Flower]:
    """Flower that hears of a worker which tells of its tickets."""
    place.settings["KEYFLEET_BROKER_URL"] = broker.url
    key = sim_key("one")
    place.write_keys(start_sim(SimConfig(keys=(key,))), (key,))
    flower = Flower(place, broker.url)
    place.start("worker", "--key", "one")
    flower.wait_until_it_hears_of(WORKER)
    yield flower
    flower.end()


def rows_of(flower: Flower, name: str) -> list[dict[str, Any]]:
    """The rows of chunks of the job `name`."""
    rows = json.loads(flower.get("/api/tasks?limit=1000") or "{}").values()
    return [row for row in rows if f"({name})" in (row["args"] or "")]


def ended_rows(place: Place, flower: Flower, lines: list[str]) -> list[dict[str, Any]]:
    """Run a job; its chunks' rows, all of which have ended."""
    write_lines(place.directory / "in.jsonl", lines)
    done = place.run("run", "in.jsonl", "--no-workers")
    assert done.code in (0, 1), done.stderr
    ended = ("SUCCESS", "FAILURE", "RETRY")

    def rows() -> list[dict[str, Any]]:
        found = rows_of(flower, "in.jsonl")
        return found if found and all(row["state"] in ended for row in found) else []

    found: list[dict[str, Any]] = wait_until(rows, "Flower has heard of the end of all chunks")
    return found


def test_a_row_says_what_it_is_and_how_its_requests_ended(place: Place, flower: Flower) -> None:
    rows = ended_rows(place, flower, [bare_line(number) for number in range(1, 6)])
    (row,) = (row for row in rows if row["result"] and "nothing" not in row["result"])
    assert row["args"].startswith(f"{MODEL}, job ")
    assert row["args"].endswith("(in.jsonl) lines 1-5")
    assert (row["state"], row["worker"]) == ("SUCCESS", WORKER)
    assert row["result"].startswith("'5 succeeded, ")
    assert row["result"].endswith(" tokens'")


def test_a_row_with_a_request_that_failed_for_good_is_a_failure(place: Place, flower: Flower) -> None:
    rows = ended_rows(place, flower, [bare_line(1), bare_line(2, "[[sim:400]]"), bare_line(3)])
    (row,) = (row for row in rows if row["state"] == "FAILURE")
    assert "2 succeeded, 1 failed, " in row["exception"]


def test_a_row_with_a_request_that_is_in_backoff_is_a_retry(place: Place, flower: Flower) -> None:
    rows = ended_rows(place, flower, [bare_line(1), bare_line(2, "[[sim:500x1]]"), bare_line(3)])
    (row,) = (row for row in rows if row["state"] == "RETRY")
    assert "2 succeeded, 1 went back (1 retried), " in row["exception"]
    assert [row["state"] for row in rows if "line 2" in row["args"].rpartition(")")[2]] == ["SUCCESS"]
