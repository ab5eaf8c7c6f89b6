"""The collector: each outcome written once, and let go of only then, whatever the server loses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from keyfleet.batch.formats import Row, blank_row
from keyfleet.errors import DiskFull, InputError
from keyfleet.ledger import ProducerWord
from keyfleet.running import collector as collector_module
from keyfleet.running import job_voice
from keyfleet.running.local_rows import LocalRows
from support.collector_case import CollectorCase, outcome
from support.events import wait_until


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Iterator[CollectorCase]:
    for name in ("GATHER_S", "AWAY_S", "REDELIVERY_S", "FULL_S"):
        monkeypatch.setattr(collector_module, name, 0.0)
    monkeypatch.setattr(job_voice, "SPEAK_S", 0.0)
    case = CollectorCase()
    yield case
    case.writer.held.set()
    case.collector.stop(10.0)


def test_outcomes_are_written_counted_and_make_room(case: CollectorCase) -> None:
    case.under_way(1, 2, 3)
    case.collector.start()
    case.finish(2, 1)
    wait_until(lambda: len(case.window) == 1, "two outcomes are collected")
    assert case.writer.written() == [2, 1]
    assert (case.tally.succeeded, "3" in case.window) == (2, True)
    wait_until(lambda: not case.ledger.entries, "the stream is trimmed")


def test_nothing_is_let_go_of_before_it_is_written(case: CollectorCase) -> None:
    case.finish(1, 2)
    case.collector.drain()
    assert case.ledger.written_at_trim == [{1, 2}]


def test_an_outcome_that_stands_in_the_stream_twice_counts_once(case: CollectorCase) -> None:
    case.under_way(1)
    case.ledger.say(outcome(1), outcome(1, ok=False))
    case.collector.drain()
    case.ledger.say(outcome(1))
    case.collector.drain()
    assert case.writer.written() == [1]
    assert case.tally.finished == 1


def test_outcomes_that_an_earlier_run_wrote_but_could_not_trim_are_not_counted_again(case: CollectorCase) -> None:
    case.writer.numbers = {1}
    case.ledger.say(outcome(1), outcome(2))
    case.collector.drain()
    assert case.writer.written() == [2]
    assert case.tally.finished == 1
    assert not case.ledger.entries


def test_draining_collects_more_than_one_read_can_take(case: CollectorCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector_module, "READ_MOST", 10)
    case.collector._read_most = 10
    case.ledger.say(*(outcome(number) for number in range(1, 96)))
    case.collector.drain()
    assert len(case.writer.rows) == 95


def test_rows_of_its_own_are_written_without_the_server(case: CollectorCase) -> None:
    case.ledger.failures = [redis.ConnectionError("gone")] * 1000
    case.collector.put_row(blank_row(1))
    case.collector.put_outcome(outcome(2, ok=False))
    assert not case.collector.is_idle
    case.collector.start()
    wait_until(lambda: case.collector.is_idle, "the rows are written")
    assert case.writer.written() == [1, 2]
    assert (case.tally.failed, case.tally.finished) == (1, 1)


def test_a_row_that_is_being_written_still_counts_as_waiting(case: CollectorCase) -> None:
    case.writer.held.clear()
    case.collector.put_row(blank_row(1))
    case.collector.start()
    wait_until(lambda: not case.collector._local._rows, "the row is taken")
    assert not case.collector.is_idle
    case.writer.held.set()
    wait_until(lambda: case.collector.is_idle, "the row is written")
    assert case.writer.written() == [1]


def test_a_server_that_is_away_is_said_and_brought_back(case: CollectorCase) -> None:
    case.ledger.failures = [redis.ConnectionError("gone")]
    case.finish(1)
    case.collector.start()
    wait_until(lambda: case.writer.written() == [1], "the outcome is collected once the server is back")
    assert case.away.is_set()
    assert "the broker doesn't answer" in case.said
    wait_until(lambda: case.said[-1] == "", "the reason is taken back")


def test_a_trim_that_failed_is_made_good_by_the_next(case: CollectorCase) -> None:
    case.ledger.trim_failures = [redis.ConnectionError("gone")]
    case.finish(1)
    case.collector.start()
    wait_until(case.away.is_set, "the trim fails")
    case.finish(2)
    wait_until(lambda: not case.ledger.entries, "the stream is trimmed")
    assert case.writer.written() == [1, 2]
    assert case.tally.finished == 2


def test_after_a_restart_of_the_server_what_it_lost_is_fed_again(case: CollectorCase) -> None:
    case.under_way(1, 2, 3)
    case.ledger.open_requests = {"1"}  # 2 and 3 are gone, but the outcome of 3 is in the stream
    case.ledger.say(outcome(3))
    case.change_server()
    case.collector.start()
    wait_until(lambda: bool(case.lost), "the loss is noticed")
    wait_until(lambda: not case.watch.changed, "the change is dealt with")
    assert [request.size_bytes for request in case.lost] == [2]
    assert case.writer.written() == [3]
    assert case.window.by_queue() == {"q": ["1"]}
    assert case.ledger.is_opened == 1


def test_a_server_that_forgot_the_job_is_noticed_without_a_restart(
    case: CollectorCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_module, "WIPED_LOOK_S", 0.0)
    case.under_way(1)
    case.ledger.open_requests.clear()
    case.ledger.known = False
    case.collector.start()
    wait_until(lambda: bool(case.lost), "the loss is noticed")
    assert case.ledger.is_opened == 1


def test_the_stream_of_a_server_whose_clock_is_behind_is_read_from_its_beginning(case: CollectorCase) -> None:
    case.ledger.trimmed = 5000
    case.finish(1)
    case.collector.drain()
    case.ledger.say(outcome(2), first=7)
    case.change_server()
    case.collector.start()
    wait_until(lambda: case.writer.written() == [1, 2], "the outcome of the new server is read")


def test_a_restarted_server_that_is_full_is_emptied_before_the_job_is_opened_anew(case: CollectorCase) -> None:
    case.under_way(1)
    case.ledger.is_full = True
    case.finish(1)
    case.change_server()
    case.collector.start()
    wait_until(lambda: not case.watch.changed, "the change is dealt with", timeout_s=10.0)
    assert case.ledger.written_at_trim[0] == {1}
    assert case.lost == []


def test_a_server_that_holds_again_what_is_written_is_told_to_let_go_of_it(case: CollectorCase) -> None:
    case.under_way(1, 2)
    case.finish(1)
    case.collector.drain()
    case.ledger.open_requests.add("1")  # as before the seconds that the server has lost
    case.change_server()
    case.collector.start()
    wait_until(lambda: not case.watch.changed, "the change is dealt with")
    assert case.ledger.withdrawn == ["1"]
    assert case.lost == []


def test_an_output_that_can_not_be_written_is_a_failure_and_nobody_waits_for_it(case: CollectorCase) -> None:
    case.writer.failure = InputError("out.jsonl: can't be written: no space left on device")
    case.finish(1)
    case.collector.start()
    wait_until(lambda: case.collector.failure is not None, "the failure shows")
    assert case.collector.failure is case.writer.failure
    assert case.ledger.entries
    for number in range(5):  # far more than its room
        case.collector.put_row(Row(number, True, b"x" * 8_000_000))


def test_a_full_disk_is_waited_for_and_nothing_is_lost(case: CollectorCase) -> None:
    case.writer.failures = [DiskFull("/out is full"), DiskFull("/out is full")]
    case.under_way(1, 2)
    case.finish(1, 2)
    case.collector.put_outcome(outcome(3, ok=False))
    case.collector.start()
    wait_until(lambda: case.writer.written() == [1, 2, 3], "all rows are written")
    wait_until(lambda: not case.ledger.entries, "the stream is trimmed")
    assert case.said.count("/out is full") == 2
    assert case.ledger.written_at_trim == [{1, 2, 3}]
    assert (case.tally.succeeded, case.tally.failed, len(case.window)) == (2, 1, 0)
    wait_until(lambda: case.said[-1] == "", "nothing is waited for any more")


def test_whoever_stops_while_the_disk_is_full_leaves_the_outcomes_where_they_are(case: CollectorCase) -> None:
    case.writer.failures = [DiskFull("/out is full")] * 1_000_000
    case.finish(1)
    case.collector.start()
    wait_until(lambda: "/out is full" in case.said, "the disk is full")
    case.collector.stop(10.0)
    assert len(case.ledger.entries) == 1


def test_the_word_that_the_job_was_cancelled_is_passed_on(case: CollectorCase) -> None:
    case.ledger.word = ProducerWord.CANCELLED
    case.collector.start()
    wait_until(case.cancelled.is_set, "the word is passed on")


def test_failures_that_no_worker_had_a_part_in_are_told_by_reason(case: CollectorCase) -> None:
    for number in range(1, 4):
        case.collector.put_outcome(outcome(number, ok=False))
    case.collector.start()
    wait_until(lambda: sum(count for _, count, _ in case.ledger.noted) == 3, "they are told")
    assert {reason for reason, _, _ in case.ledger.noted} == {"400 bad"}
    assert case.ledger.noted[0][2] == '{"line":"1","message":"it is"}'


def test_failures_that_no_worker_had_a_part_in_are_told_at_the_end_at_the_latest(
    case: CollectorCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_voice, "SPEAK_S", 1000.0)
    case.collector.start()
    wait_until(lambda: case.said != [], "it has spoken for the first time")
    case.collector.put_outcome(outcome(1, ok=False))
    wait_until(lambda: case.collector.is_idle, "the row is written")
    assert case.ledger.noted == []
    case.collector.stop(10.0)
    assert len(case.ledger.noted) == 1


def test_rows_beyond_their_room_wait_where_they_are_made() -> None:
    rows = LocalRows(size_bytes=1000)
    rows.put(Row(1, True, b"x" * 5000), None)
    passed = threading.Event()

    def put() -> None:
        rows.put(Row(2, True, b"y"), None)
        passed.set()

    threading.Thread(target=put, daemon=True).start()
    assert not passed.wait(0.05)
    assert [row.line_number for row, _ in rows.take()] == [1]
    assert passed.wait(10.0)
    assert not rows.is_empty
    rows.take()
    rows.written(2)
    assert rows.is_empty


def test_stopping_ends_the_thread(case: CollectorCase, tmp_path: Path) -> None:
    case.collector.start()
    case.collector.stop(10.0)
    assert not any(thread.name == "keyfleet-collector" for thread in threading.enumerate())
