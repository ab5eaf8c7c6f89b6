"""A run's session: what its workers are started with, and whole runs on a stand-in server without any worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.config import Environment
from keyfleet.errors import BrokerUnavailable, ConfigurationError
from keyfleet.jobs import cancel_job
from keyfleet.ledger.codec import request_key
from keyfleet.redis_keys import QueueKeys
from keyfleet.running import RunOptions, RunSession, ending, fleet_watch, job_run
from keyfleet.running.snapshot import End, Snapshot
from support.session_case import FLEET, QUEUE, SessionFleet, new_session, results, run, settings, write_input

if TYPE_CHECKING:
    from support.stand_in import StandIn


@pytest.fixture
def fleet(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> SessionFleet:
    monkeypatch.setattr(job_run, "LOOK_S", 0.005)
    monkeypatch.setattr(ending, "LOOK_S", 0.005)
    monkeypatch.setattr(fleet_watch, "STATUS_S", 0.005)
    return SessionFleet(stand_in.client(), monkeypatch)


def test_a_run_ends_when_every_line_has_its_result(fleet: SessionFleet, tmp_path: Path) -> None:
    write_input(tmp_path / "in.jsonl", 5)
    found = new_session(tmp_path)
    snapshots: list[Snapshot] = []

    def show(snapshot: Snapshot) -> None:
        snapshots.append(snapshot)
        fleet.answer(*fleet.open_ids())

    assert run(found, show) is End.DONE
    assert results(tmp_path) == 5
    assert (found.tally.succeeded, found.files.exit_code) == (5, 0)
    assert (snapshots[-1].finished, snapshots[-1].total_lines, snapshots[-1].in_window) == (5, 5, 0)
    record = fleet.record()
    assert (record.mark, record.accepted, record.succeeded, record.failed) == ("done", 5, 5, 0)


def test_a_cancelled_run_takes_back_what_waits_and_ends_with_a_word_about_it(
    fleet: SessionFleet, tmp_path: Path
) -> None:
    write_input(tmp_path / "in.jsonl", 5)
    found = new_session(tmp_path)
    is_cancelled: list[bool] = []
    fleet.client.set(redis_keys.worker(FLEET, "w"), json.dumps(WORKER))
    fleet.client.zadd(redis_keys.workers(FLEET), {"w": 1})

    def show(snapshot: Snapshot) -> None:
        if not is_cancelled and len(fleet.open_ids()) == 5:
            fleet.hold("2")
            cancel_job(fleet.client, FLEET, fleet.job_id, declare_flags=False)
            is_cancelled.append(True)
        if is_cancelled and snapshot.in_window == 1:
            fleet.answer("2")

    assert run(found, show) is End.STOPPED
    assert found.stop_reason is not None
    assert "cancelled" in found.stop_reason
    assert results(tmp_path) == 1
    assert fleet.open_ids() == []
    record = fleet.record()
    assert (record.mark, record.accepted, record.succeeded, bool(record.left_ms)) == ("cancelled", 1, 1, True)

    def answer_all(snapshot: Snapshot) -> None:
        fleet.answer(*fleet.open_ids())

    assert run(new_session(tmp_path), answer_all) is End.DONE
    assert results(tmp_path) == 5


def test_the_first_interrupt_takes_back_what_waits_and_waits_for_what_is_under_way(
    fleet: SessionFleet, tmp_path: Path
) -> None:
    write_input(tmp_path / "in.jsonl", 5)
    found = new_session(tmp_path)
    found_again: list[Snapshot] = []
    fleet.client.set(redis_keys.worker(FLEET, "w"), json.dumps(WORKER))  # it lives
    fleet.client.zadd(redis_keys.workers(FLEET), {"w": 1})

    def show(snapshot: Snapshot) -> None:
        if not snapshot.interrupted and len(fleet.open_ids()) == 5:
            fleet.hold("2")
            found.interrupt()
        if snapshot.interrupted and fleet.open_ids() == ["2"]:
            found_again.append(snapshot)
            if len(found_again) == 3:
                fleet.answer("2")

    assert run(found, show) is End.INTERRUPTED
    assert results(tmp_path) == 1
    assert fleet.open_ids() == []


WORKER = {
    "key": "one",
    "host": "h",
    "in_flight": 1,
    "slots": 1,
    "short_of_slots": False,
    "waits": {},
    "limits": [],
    "totals": {},
    "state": {"name": "ready", "reason": "", "rest_s": 0.0},
    "queues": {"m": "serves"},
    "has_left": False,
}


def test_an_interrupted_run_goes_on_with_what_is_left(fleet: SessionFleet, tmp_path: Path) -> None:
    write_input(tmp_path / "in.jsonl", 5)
    first = new_session(tmp_path)

    def answer_two(snapshot: Snapshot) -> None:
        if len(fleet.open_ids()) == 5:
            fleet.answer("1", "4")
        if snapshot.finished == 2:
            first.interrupt()

    assert run(first, answer_two) is End.INTERRUPTED
    asked: set[str] = set()

    def answer_all(snapshot: Snapshot) -> None:
        ids = fleet.open_ids()
        asked.update(ids)
        fleet.answer(*ids)

    second = new_session(tmp_path)
    assert run(second, answer_all) is End.DONE
    assert asked == {"2", "3", "5"}
    assert results(tmp_path) == 5


def test_outcomes_that_came_while_nobody_collected_are_not_sent_for_again(fleet: SessionFleet, tmp_path: Path) -> None:
    write_input(tmp_path / "in.jsonl", 3)
    first = new_session(tmp_path)

    def hold_one(snapshot: Snapshot) -> None:
        if len(fleet.open_ids()) == 3:
            fleet.hold("2")
            first.interrupt()
            first.interrupt()

    assert run(first, hold_one) is End.INTERRUPTED
    fleet.answer("2")
    asked: set[str] = set()

    def answer_all(snapshot: Snapshot) -> None:
        ids = fleet.open_ids()
        asked.update(ids)
        fleet.answer(*ids)

    assert run(new_session(tmp_path), answer_all) is End.DONE
    assert asked == {"1", "3"}
    assert results(tmp_path) == 3


def test_a_run_without_progress_gives_up(fleet: SessionFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_input(tmp_path / "in.jsonl", 2)
    run_options = RunOptions(str(tmp_path / "in.jsonl"), use_local_workers=False)
    found = RunSession(run_options, settings(tmp_path, give_up_after_s=0.02), Environment({}), None)
    found.open()
    found.connect()
    assert run(found, lambda snapshot: None) is End.STOPPED
    assert found.stop_reason == "nothing was finished for 0 s (--give-up-after)"
    assert fleet.open_ids() == []


def test_calls_of_workers_that_are_gone_keep_no_run_from_giving_up(fleet: SessionFleet, tmp_path: Path) -> None:
    write_input(tmp_path / "in.jsonl", 2)
    run_options = RunOptions(str(tmp_path / "in.jsonl"), use_local_workers=False)
    found = RunSession(run_options, settings(tmp_path, give_up_after_s=0.3), Environment({}), None)
    found.open()
    found.connect()

    def show(snapshot: Snapshot) -> None:
        if not snapshot.interrupted and "2" in fleet.open_ids():
            fleet.hold("2")

    assert run(found, show) is End.STOPPED


def test_a_line_that_was_lost_on_the_way_is_found_at_the_end(fleet: SessionFleet, tmp_path: Path) -> None:
    write_input(tmp_path / "in.jsonl", 4)
    found = new_session(tmp_path)
    is_lost: list[bool] = []

    def show(snapshot: Snapshot) -> None:
        if not is_lost and len(fleet.open_ids()) == 4:
            is_lost.append(True)
            found._pipeline.window.remove("3")
            key = request_key(fleet.job_id, "3")
            for name in (QueueKeys(FLEET, QUEUE).requests, QueueKeys(FLEET, QUEUE).places):
                fleet.client.hdel(name, key)
        if is_lost:
            fleet.answer(*fleet.open_ids())

    assert run(found, show) is End.DONE
    assert results(tmp_path) == 4


def test_a_broker_that_is_gone_at_the_start_is_said_in_one_line(
    fleet: SessionFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_input(tmp_path / "in.jsonl", 1)
    found = new_session(tmp_path)

    def away(*_: object, **__: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(found._connection.ledger, "open", away)
    with pytest.raises(BrokerUnavailable, match="stopped answering at the start"):
        run(found, lambda snapshot: None)


def test_a_job_is_done_even_if_the_broker_is_gone_by_then(
    fleet: SessionFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_input(tmp_path / "in.jsonl", 1)
    found = new_session(tmp_path)

    def away(*_: object, **__: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(found._connection.ledger, "close", away)
    assert run(found, lambda snapshot: fleet.answer(*fleet.open_ids())) is End.DONE
    assert "stays in the broker" in caplog.text


def test_a_wrong_url_leaves_no_file_open(tmp_path: Path) -> None:
    write_input(tmp_path / "in.jsonl", 1)
    options = RunOptions(str(tmp_path / "in.jsonl"), url="ftp://nowhere/v1/x", use_local_workers=False)
    with pytest.raises(ConfigurationError, match="--url"):
        RunSession(options, settings(tmp_path), Environment({}), None).open()
    options = RunOptions(str(tmp_path / "in.jsonl"), overwrite=True, use_local_workers=False)
    again = RunSession(options, settings(tmp_path), Environment({}), None)
    assert again.open() is None  # its lock was given back
    again.close()
