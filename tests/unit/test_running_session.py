"""A run's session: what its workers are started with, and whole runs on a stand-in server without any worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.broker import ServerWatch
from keyfleet.config import Environment, Settings
from keyfleet.contract import Outcome
from keyfleet.errors import BrokerUnavailable, ConfigurationError
from keyfleet.jobs import cancel_job
from keyfleet.jobs.listing import read_records
from keyfleet.ledger import Finish, JobLedger, JobOptions, JobRecord, Transitions
from keyfleet.ledger.codec import request_key
from keyfleet.redis_keys import QueueKeys
from keyfleet.running import RunOptions, RunSession, ending, fleet_watch, session
from keyfleet.running.connection import Connection
from keyfleet.running.snapshot import End, Snapshot
from keyfleet.tickets import TicketOffice, make_app

if TYPE_CHECKING:
    from support.stand_in import StandIn

FLEET, QUEUE = "main", "m"


def settings(tmp_path: Path, **more: Any) -> Settings:
    return Settings(state_dir=tmp_path, **{"broker_url": "redis://:s3cret@127.0.0.1:1/0", **more})


class Fleet:
    """Stands for server and workers: a stand-in server, and answers that a test gives."""

    def __init__(self, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = client
        self.transitions = Transitions(client, FLEET, lease_ms=30_000, declare_flags=False)
        self.job_id = ""
        monkeypatch.setattr(session, "open_connection", self._open_connection)
        monkeypatch.setattr(client, "info", lambda section: {"used_memory": 1})  # which the stand-in doesn't know

    def _open_connection(
        self, given: Settings, options: RunOptions, keys: Any, files: Any, stack: ExitStack, **_: Any
    ) -> Connection:
        self.job_id = files.job_id
        ledger = JobLedger(self.client, FLEET, files.job_id, JobOptions(echo=True), declare_flags=False)
        tickets = TicketOffice(make_app("memory://", FLEET))
        stack.callback(tickets.close)
        return Connection(given, self.client, ServerWatch(), ledger, tickets, None)

    def open_ids(self) -> list[str]:
        keys: Any = self.client.hkeys(QueueKeys(FLEET, QUEUE).requests)
        return sorted(key.decode().partition(":")[2] for key in keys)

    def record(self) -> JobRecord:
        (record,) = read_records(self.client, FLEET)
        return record

    def hold(self, request_id: str) -> None:
        """A worker takes a request."""
        key = request_key(self.job_id, request_id)
        self.client.zrem(QueueKeys(FLEET, QUEUE).ready_bulk, key)
        self.client.hset(QueueKeys(FLEET, QUEUE).leases, key, "token")

    def answer(self, *request_ids: str) -> None:
        """A worker delivers the outcomes of requests."""
        for request_id in request_ids:
            outcome = Outcome(request_id, True, 200, b'{"a":1}', 1, key_name="one", tokens=3)
            self.transitions.finish(QUEUE, self.job_id, [Finish(request_key(self.job_id, request_id), "", outcome)])


@pytest.fixture
def fleet(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(session, "LOOK_S", 0.005)
    monkeypatch.setattr(ending, "LOOK_S", 0.005)
    monkeypatch.setattr(fleet_watch, "STATUS_S", 0.005)
    return Fleet(stand_in.client(), monkeypatch)


def write_input(path: Path, lines: int) -> Path:
    path.write_text("".join(json.dumps({"model": QUEUE, "prompt": "p", "max_tokens": 1}) + "\n" for _ in range(lines)))
    return path


def new_session(tmp_path: Path, **options: Any) -> RunSession:
    run_options = RunOptions(str(tmp_path / "in.jsonl"), use_local_workers=False, **options)
    found = RunSession(run_options, settings(tmp_path), Environment({}), None)
    assert found.open() is None
    found.connect()
    return found


def run(found: RunSession, show: Callable[[Snapshot], None]) -> End:
    try:
        return found.run(show)
    finally:
        found.close()


def results(tmp_path: Path) -> int:
    return len((tmp_path / "in_results.jsonl").read_text().splitlines())


def test_a_run_ends_when_every_line_has_its_result(fleet: Fleet, tmp_path: Path) -> None:
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


def test_a_cancelled_run_takes_back_what_waits_and_ends_with_a_word_about_it(fleet: Fleet, tmp_path: Path) -> None:
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
    fleet: Fleet, tmp_path: Path
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


def test_an_interrupted_run_goes_on_with_what_is_left(fleet: Fleet, tmp_path: Path) -> None:
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


def test_outcomes_that_came_while_nobody_collected_are_not_sent_for_again(fleet: Fleet, tmp_path: Path) -> None:
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


def test_a_run_without_progress_gives_up(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_input(tmp_path / "in.jsonl", 2)
    run_options = RunOptions(str(tmp_path / "in.jsonl"), use_local_workers=False)
    found = RunSession(run_options, settings(tmp_path, give_up_after_s=0.02), Environment({}), None)
    found.open()
    found.connect()
    assert run(found, lambda snapshot: None) is End.STOPPED
    assert found.stop_reason == "nothing was finished for 0 s (--give-up-after)"
    assert fleet.open_ids() == []


def test_calls_of_workers_that_are_gone_keep_no_run_from_giving_up(fleet: Fleet, tmp_path: Path) -> None:
    write_input(tmp_path / "in.jsonl", 2)
    run_options = RunOptions(str(tmp_path / "in.jsonl"), use_local_workers=False)
    found = RunSession(run_options, settings(tmp_path, give_up_after_s=0.3), Environment({}), None)
    found.open()
    found.connect()

    def show(snapshot: Snapshot) -> None:
        if not snapshot.interrupted and "2" in fleet.open_ids():
            fleet.hold("2")

    assert run(found, show) is End.STOPPED


def test_a_line_that_was_lost_on_the_way_is_found_at_the_end(fleet: Fleet, tmp_path: Path) -> None:
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
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_input(tmp_path / "in.jsonl", 1)
    found = new_session(tmp_path)

    def away(*_: object, **__: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(found._connection.ledger, "open", away)
    with pytest.raises(BrokerUnavailable, match="stopped answering at the start"):
        run(found, lambda snapshot: None)


def test_a_job_is_done_even_if_the_broker_is_gone_by_then(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
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
