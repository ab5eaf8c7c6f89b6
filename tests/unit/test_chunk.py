"""A chunk: what becomes of its ticket, and that no slot, lease or prefetch count is ever left behind."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import redis

from keyfleet_workers.dispatch import chunk as chunk_module
from keyfleet_workers.dispatch import taking as taking_module
from keyfleet_workers.holds import Hold, KeyState
from support.chunk_case import LIMIT, QUEUE, ChunkCase, take_result
from support.events import wait_until

HOLD = Hold("quota:q", KeyState.COOLING, "slow_down: too fast", 0, 60_000)


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> ChunkCase:
    monkeypatch.setattr(chunk_module, "PARKED_S", 0.0)
    monkeypatch.setattr(taking_module, "BRIEF_S", 0.0)
    return ChunkCase()


def test_requests_are_called_and_their_ends_are_told(case: ChunkCase) -> None:
    case.takes = [[1, 2, 3]]
    assert case.serve() == "3 succeeded"
    assert sorted(case.called) == ["job:1", "job:2", "job:3"]
    assert case.put_back == []


def test_a_ticket_that_finds_nothing_is_used_up(case: ChunkCase) -> None:
    assert case.serve() == "nothing to do"
    assert (case.put_back, case.pauses_s) == ([], [])


def test_a_ticket_asks_for_no_more_than_there_are_slots_or_requests(case: ChunkCase) -> None:
    case.serve(3)
    case.serve(100)
    assert case.asked == [3, 8]


def test_a_ticket_is_used_up_once_it_has_brought_its_requests(case: ChunkCase) -> None:
    case.takes = [take_result([1, 2], left=50), take_result([3], left=49)]
    assert case.serve(3) == "3 succeeded"
    assert case.put_back == []
    assert len(case.asked) == 2


def test_where_limits_hold_the_ticket_goes_back_and_a_short_wait_is_sat_out(case: ChunkCase) -> None:
    case.takes = [take_result([1], left=9, wait_ms=800, limit=LIMIT), [2]]
    assert case.serve(10) == "2 succeeded"
    assert case.put_back == [9]
    assert case.pauses_s == [0.8]
    assert case.standing.waits_s == [0.8]
    assert case.waits.current()[QUEUE][0] == "60 requests per 60 s"


def test_who_stands_takes_as_many_as_it_can_and_puts_no_second_ticket_back(case: ChunkCase) -> None:
    case.takes = [
        take_result([1], left=90, wait_ms=100, limit=LIMIT),
        take_result([2], left=89, wait_ms=100, limit=LIMIT),
        take_result([3], left=88, wait_ms=100, limit=LIMIT),
        [4],
    ]
    assert case.serve(2) == "4 succeeded"
    assert case.put_back == [1]
    assert min(case.asked[1:]) > 2


def test_who_stands_leaves_the_rest_to_another_chunk_after_a_while(
    case: ChunkCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(taking_module, "elapsed_s", lambda: now_s)
    case.takes = [take_result([number], left=90, wait_ms=100, limit=LIMIT) for number in range(9)]

    def pass_time() -> None:
        nonlocal now_s
        now_s += taking_module.LONGEST_S / 3.5

    case.on_take = pass_time
    assert case.serve(2) == "4 succeeded"
    assert case.put_back == [1]


def test_it_is_told_what_a_chunk_is_as_it_grows(case: ChunkCase) -> None:
    case.takes = [take_result([7, 8], left=9), [9]]
    case.serve()
    assert case.told == ["m, job job (job.jsonl) lines 7-8", "m, job job (job.jsonl) lines 7-9"]


def test_what_ends_without_a_call_is_counted_too(case: ChunkCase) -> None:
    case.takes = [take_result([1], impossible=[2], expired=[3], dropped=[4])]
    end = case.runner.run(QUEUE, 5)
    assert (str(end), end.has_failures, end.has_retries) == ("1 succeeded, 2 failed, 1 stopped", True, False)


def test_before_a_long_wait_the_queue_is_left_alone(case: ChunkCase) -> None:
    case.takes = [take_result([], left=9, wait_ms=60_000, hold=HOLD)]
    assert case.serve(5) == "nothing to do"
    assert case.put_back == [5]
    assert case.pauses_s == [60.0]
    assert case.standing.waits_s == []
    assert case.waits.current()[QUEUE][0] == "cooling: slow_down: too fast"


def test_while_a_first_answer_is_awaited_one_call_goes_out_and_others_may_have_the_ticket(case: ChunkCase) -> None:
    case.cautious = [True, False]
    case.takes = [take_result([1], left=9), [2, 3]]
    assert case.serve(10) == "3 succeeded"
    assert case.asked[0] == 1
    assert case.asked[1] > 1
    assert case.put_back == [9]
    assert case.resumed == 1
    assert case.waits.current() == {}


def test_a_first_answer_that_is_streamed_is_awaited_until_it_begins(case: ChunkCase) -> None:
    case.cautious, case.streams = [True, False], True
    case.takes = [take_result([1], left=9), [2, 3]]
    case.hold_calls.clear()
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(case.serve(10)), daemon=True)
    thread.start()
    wait_until(lambda: len(case.asked) == 2, "more is taken")
    assert (case.resumed, case.called) == (1, [])
    case.hold_calls.set()
    thread.join(10)
    assert said == ["3 succeeded"]


def test_where_another_workers_call_is_the_first_nothing_is_taken(case: ChunkCase) -> None:
    case.cautious, case.is_first = [True], False
    assert case.serve(10) == "nothing to do"
    assert case.asked == []
    assert case.put_back == [10]
    assert case.pauses_s == [taking_module.OTHERS_FIRST_S]


@pytest.mark.parametrize("brought", [take_result([], left=9, wait_ms=60_000, hold=HOLD), redis.ConnectionError("gone")])
def test_a_first_call_that_nothing_came_of_is_left_to_others(case: ChunkCase, brought: object) -> None:
    case.cautious = [True]
    case.takes = [brought]
    case.serve(5)
    assert case.not_first == 1


def test_what_is_ready_but_too_large_for_this_key_is_left_to_others(case: ChunkCase) -> None:
    case.takes = [take_result([], left=4)]
    case.serve(5)
    assert case.put_back == [5]
    assert case.pauses_s == [1.0]
    assert case.waits.current()[QUEUE][0] == "too large for this key"


def test_a_request_that_fits_no_key_ends_as_a_failure(case: ChunkCase) -> None:
    case.takes = [take_result([1], impossible=[2])]
    case.serve()
    (finish,) = case.finished
    assert (finish.key, finish.token, finish.outcome.ok, finish.outcome.attempts) == ("job:2", "token2", False, 0)
    assert finish.outcome.errors[-1].code == "request_too_large"
    assert "7 tokens" in finish.outcome.errors[-1].message


def test_a_request_that_is_too_late_ends_as_a_failure_and_was_never_sent(case: ChunkCase) -> None:
    case.takes = [take_result([1], expired=[2])]
    case.serve()
    (finish,) = case.finished
    assert (finish.key, finish.outcome.attempts, finish.outcome.errors[-1].code) == ("job:2", 0, "deadline_exceeded")
    assert case.called == ["job:1"]


def test_what_a_gone_caller_waited_for_ends_unsent(case: ChunkCase) -> None:
    case.takes = [take_result([1], dropped=[2])]
    case.serve()
    (finish,) = case.finished
    assert (finish.key, finish.outcome.attempts, finish.outcome.errors[-1].code) == ("job:2", 0, "caller_gone")
    assert case.called == ["job:1"]


def test_every_grant_is_remembered_as_what_would_make_it_good(case: ChunkCase) -> None:
    case.takes = [[1, 2]]
    case.serve()
    assert [(grant.settlement.granted_ms, grant.settlement.deltas) for grant in case.noted] == [(5000, (1,))] * 2


def test_without_a_free_slot_the_ticket_goes_to_others_and_the_chunk_waits_for_one(
    case: ChunkCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking_module, "STANDING_S", 30.0)
    case.slots.acquire(8)
    case.takes = [[1]]
    served: list[str] = []
    thread = threading.Thread(target=lambda: served.append(str(case.runner.run(QUEUE, 5))), daemon=True)
    thread.start()
    wait_until(lambda: bool(case.pauses_s), "the queue is paused")
    assert case.put_back == [5]
    case.slots.release(8)
    thread.join(10.0)
    assert served == ["1 succeeded"]
    assert case.resumed == 1
    case.check_nothing_left()


def test_a_chunk_that_gets_no_slot_ends(case: ChunkCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking_module, "STANDING_S", 0.01)
    case.slots.acquire(8)
    assert str(case.runner.run(QUEUE, 5)) == "nothing to do"
    assert case.put_back == [5]
    assert case.waits.current() == {} or case.waits.current()[QUEUE][0] == "concurrency"
    case.slots.release(8)
    case.check_nothing_left()


def test_a_server_that_is_away_leaks_nothing_and_is_left_alone_for_a_moment(case: ChunkCase) -> None:
    case.takes = [redis.ConnectionError("gone")]
    assert case.serve() == "nothing to do"
    assert case.pauses_s == [0.5]


def test_nothing_is_taken_while_a_servers_losses_are_made_good(case: ChunkCase) -> None:
    case.may_take = False
    assert case.serve() == "nothing to do"
    assert case.asked == []
    assert case.pauses_s == [0.5]


def test_an_error_in_a_later_take_waits_for_the_calls_of_the_earlier(case: ChunkCase) -> None:
    case.takes = [take_result([1, 2], left=5), ValueError("a record that can't be read")]
    with pytest.raises(ValueError, match="can't be read"):
        case.runner.run(QUEUE, 10)
    assert sorted(case.called) == ["job:1", "job:2"]
    case.check_nothing_left()


def test_requests_that_the_closing_pool_refuses_are_given_back(case: ChunkCase) -> None:
    case.takes = [[1, 2]]
    case.executor.shutdown()
    assert case.serve() == "2 went back (2 handed back)"
    assert case.given_back == ["job:1", "job:2"]


def test_a_worker_that_stops_takes_nothing_and_puts_its_ticket_back(case: ChunkCase) -> None:
    case.stopping.set()
    assert case.serve(5) == "nothing to do"
    assert case.asked == []
    assert case.put_back == [5]


def test_a_worker_that_is_told_to_stop_while_it_stands_takes_nothing_more(case: ChunkCase) -> None:
    case.takes = [take_result([1], left=9, wait_ms=100, limit=LIMIT), [2]]
    case.on_take = case.stopping.set
    assert case.serve(10) == "1 succeeded"
    assert case.put_back == [9]


def test_of_one_queue_one_chunk_at_a_time_takes(case: ChunkCase) -> None:
    took, go_on = threading.Event(), threading.Event()

    def wait_inside() -> None:
        took.set()
        go_on.wait(30.0)

    case.on_take = wait_inside
    first = threading.Thread(target=case.runner.run, args=(QUEUE, 5), daemon=True)
    first.start()
    assert took.wait(10.0)
    assert str(case.runner.run(QUEUE, 7)) == "put back"
    assert case.put_back == [7]
    go_on.set()
    first.join(10.0)
    case.check_nothing_left()


def test_the_next_chunk_takes_while_calls_of_the_last_are_under_way(case: ChunkCase) -> None:
    case.hold_calls.clear()
    case.takes = [[1]]
    first = threading.Thread(target=case.runner.run, args=(QUEUE, 5), daemon=True)
    first.start()
    wait_until(lambda: len(case.held) == 1, "the first call is under way")
    case.takes = [[2]]
    second = threading.Thread(target=case.runner.run, args=(QUEUE, 5), daemon=True)
    wait_until(lambda: not case.runner._roles[QUEUE].locked(), "the first chunk takes no more")
    second.start()
    wait_until(lambda: len(case.held) == 2, "both calls are under way")
    assert case.prefetched == 2
    case.hold_calls.set()
    first.join(10.0)
    second.join(10.0)
    assert sorted(case.called) == ["job:1", "job:2"]


def test_a_ticket_of_a_model_that_the_key_does_not_serve_leaves_nothing_behind(case: ChunkCase) -> None:
    with pytest.raises(LookupError, match="doesn't serve"):
        case.runner.run("other", 5)
    case.check_nothing_left()


def test_where_others_make_a_queue_wait_an_urgent_request_is_taken_at_once(case: ChunkCase) -> None:
    case.waits.note(QUEUE, "a limit", 40.0)
    case.takes = [take_result([7], left=3, wait_ms=40_000)]
    case.runner.hurry(QUEUE)
    wait_until(lambda: case.called == ["job:7"], "it is called")
    assert (case.pauses_s, case.put_back) == ([40.0], [])
    wait_until(lambda: case.slots.used == 0, "its slot is free")


def test_what_became_of_an_urgent_request_is_logged_too(case: ChunkCase, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    case.waits.note(QUEUE, "a limit", 40.0)
    case.takes = [take_result([7], left=3, wait_ms=40_000)]
    case.runner.hurry(QUEUE)
    wait_until(lambda: caplog.records, "it is told")
    (record,) = caplog.records
    assert "job job (job.jsonl) line 7: 1 succeeded" in record.getMessage()


def test_after_requests_of_paused_jobs_others_are_looked_for_at_once(case: ChunkCase) -> None:
    parked = replace(take_result([], left=5), parked=2048)
    case.takes = [parked, take_result([1])]
    case.serve()
    assert (case.called, case.pauses_s) == (["job:1"], [])


def test_an_urgent_request_of_a_model_that_the_key_does_not_serve_is_left_to_others(case: ChunkCase) -> None:
    case.waits.note("other", "a limit", 40.0)
    case.runner.hurry("other")
    assert case.asked == []


def test_where_nothing_waits_an_urgent_request_needs_no_haste(case: ChunkCase) -> None:
    case.runner.hurry(QUEUE)
    assert case.asked == []


def test_whoever_stands_takes_an_urgent_request_at_once(case: ChunkCase) -> None:
    case.standing.is_patient = True
    case.takes = [take_result([], left=1, wait_ms=1900), take_result([7])]
    chunk = threading.Thread(target=case.serve)
    chunk.start()
    wait_until(lambda: case.standing.waits_s == [1.9], "it stands")
    case.runner.hurry(QUEUE)
    wait_until(lambda: case.called == ["job:7"], "it is called")
    chunk.join()
    assert case.put_back == [32]


def test_while_a_first_answer_is_awaited_nothing_is_hurried(case: ChunkCase) -> None:
    case.waits.note(QUEUE, "waiting for a first answer", 40.0)
    case.cautious = [True]
    case.runner.hurry(QUEUE)
    assert (case.asked, case.slots.used) == ([], 0)
