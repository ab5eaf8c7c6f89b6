"""Taking: quota and lease in one step, on a stand-in server whose clock the tests move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keyfleet import redis_keys
from keyfleet.ledger.job_record import ALIVE_MS
from keyfleet_workers.dispatch import taker as taker_module
from keyfleet_workers.dispatch.taker import HOPELESS_GRACE_MS, LOOKAHEAD, URGENT_MS
from keyfleet_workers.quota_pools import Quota
from support.take_case import TakeCase, ids, quota

if TYPE_CHECKING:
    from support.stand_in import StandIn


@pytest.fixture
def queue(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> TakeCase:
    monkeypatch.setattr(taker_module, "elapsed_s", stand_in.clock.time)
    return TakeCase(stand_in)


def test_the_longest_run_that_fits_is_taken(queue: TakeCase) -> None:
    queue.accept(400, 400, 400, 100)
    limits = quota()
    result = queue.take(limits)
    assert ids(result) == ["0", "1"]
    assert (result.ready_left, result.wait_ms, result.limit) == (2, 1001, limits.limits[1])


def test_it_is_told_when_a_request_was_accepted(queue: TakeCase) -> None:
    accepted_ms = queue.clock.now_ms
    queue.accept(1)
    queue.clock.advance_ms(5000)
    result = queue.take(quota())
    assert [taken.accepted_ms for taken in result.taken] == [accepted_ms]
    assert result.grant.ages_s(result.taken) == [5.0]


def test_large_requests_do_not_starve_behind_small_ones(queue: TakeCase) -> None:
    queue.accept(600, 900, *[100] * 50)
    limits = quota()
    assert ids(queue.take(limits)) == ["0"]
    for _ in range(4):  # small ones behind the large one would fit, and wait
        queue.clock.advance_ms(200)
        assert ids(queue.take(limits)) == []
    queue.clock.advance_ms(201)
    assert ids(queue.take(limits)) == ["1", "2"]


def test_urgent_requests_go_before_bulk(queue: TakeCase) -> None:
    queue.accept(1, 1)
    queue.accept(1, 1, urgent=True)
    assert ids(queue.take(quota(), most=3)) == ["2", "3", "0"]


def test_an_urgent_request_that_must_wait_is_not_overtaken_by_bulk(queue: TakeCase) -> None:
    queue.accept(10)
    queue.accept(600, 600, urgent=True)
    assert ids(queue.take(quota())) == ["1"]


def test_no_more_is_taken_than_asked_for_and_then_there_is_no_wait(queue: TakeCase) -> None:
    queue.accept(1, 1, 1)
    result = queue.take(quota(), most=2)
    assert (ids(result), result.ready_left, result.wait_ms, result.limit) == (["0", "1"], 1, 0, None)


def test_the_promised_wait_comes_true(queue: TakeCase) -> None:
    queue.accept(*[1] * 5)
    limits = quota(requests=2)
    queue.take(limits)
    queue.clock.advance_ms(300)
    result = queue.take(limits)
    assert (ids(result), result.wait_ms, result.limit) == ([], 701, limits.limits[0])
    queue.clock.advance_ms(700)
    assert ids(queue.take(limits)) == []
    queue.clock.advance_ms(1)
    assert ids(queue.take(limits)) == ["2", "3"]


def test_a_key_without_limits_takes_all(queue: TakeCase) -> None:
    queue.accept(*[10**9] * 3)
    assert len(queue.take(Quota("none", ())).taken) == 3


def test_an_empty_queue_gives_nothing_and_no_wait(queue: TakeCase) -> None:
    result = queue.take(quota())
    assert (result.taken, result.impossible, result.ready_left, result.wait_ms) == ((), (), 0, 0)


def test_what_never_fits_this_key_is_passed_over(queue: TakeCase) -> None:
    queue.accept(5000, 10, 5000, 20)
    result = queue.take(quota())
    assert (ids(result), result.impossible, result.ready_left, result.wait_ms) == (["1", "3"], (), 2, 0)
    assert ids(queue.take(quota(tokens=5000, name="large"))) == ["0"]


def test_only_so_many_are_passed_over(queue: TakeCase) -> None:
    queue.accept(*[5000] * LOOKAHEAD, 10)
    assert ids(queue.take(quota())) == []
    assert ids(queue.take(quota(tokens=5000, name="large"), most=1)) == ["0"]
    assert ids(queue.take(quota())) == [str(LOOKAHEAD)]


def test_passing_over_does_not_shorten_the_run(queue: TakeCase) -> None:
    queue.accept(*[5000] * 40, *[1] * 40)
    assert len(queue.take(quota(), most=40).taken) == 40


def test_what_fits_no_key_is_given_up_after_a_grace(queue: TakeCase) -> None:
    queue.accept(5000, 10)
    queue.clock.advance_ms(HOPELESS_GRACE_MS - 1)
    assert queue.take(quota(), most=1).impossible == ()
    queue.clock.advance_ms(1)
    result = queue.take(quota())
    assert [taken.key for taken in result.impossible] == ["job:0"]
    assert (result.ready_left, queue.job.depths("q")["running"]) == (0, 2)


@pytest.mark.parametrize(
    ("largest_tokens", "for_ms", "given_up"), [(5000, 0, False), (4999, 0, True), (5000, -1, True)]
)
def test_what_fits_another_living_key_waits_for_it(
    queue: TakeCase, largest_tokens: int, for_ms: int, given_up: bool
) -> None:
    queue.accept(5000)
    queue.clock.advance_ms(HOPELESS_GRACE_MS)
    queue.note_capacity(largest_tokens, queue.clock.now_ms + for_ms)
    assert bool(queue.take(quota()).impossible) is given_up


def test_every_lease_has_a_token_of_its_own(queue: TakeCase) -> None:
    queue.accept(1, 1)
    taken = [queue.take(quota(), most=1).taken[0] for _ in range(2)]
    assert len({one.token for one in taken}) == 2
    assert {one.key for one in taken} == {"job:0", "job:1"}


def test_nothing_is_charged_for_what_was_not_taken(queue: TakeCase) -> None:
    limits = quota(requests=3, tokens=100)
    queue.accept(60, 60)
    queue.take(limits)
    client: Any = queue.client
    totals = [client.hget(limit.key, "total") for limit in limits.limits]
    assert totals == [b"1", b"60"]


def test_a_quota_that_the_server_lost_counts_as_full_for_one_window(queue: TakeCase) -> None:
    limits = quota(requests=10)
    queue.accept(*[1] * 4)
    queue.take(limits, most=1)
    queue.client.delete(*(limit.key for limit in limits.limits))
    queue.clock.advance_ms(100)
    assert queue.take(limits).wait_ms == 1001
    queue.clock.advance_ms(1001)
    assert len(queue.take(limits).taken) == 3


def test_a_lost_quota_that_another_worker_began_anew_counts_as_full_too(queue: TakeCase) -> None:
    limits = quota(requests=10)
    queue.accept(*[1] * 12)
    queue.take(limits, most=9)
    queue.client.delete(*(limit.key for limit in limits.limits))
    queue.clock.advance_ms(100)
    assert len(queue.new_taker("other").take("q", quota(requests=10), 1).taken) == 1
    queue.clock.advance_ms(100)
    assert queue.take(limits).taken == ()


def test_a_grant_tells_the_servers_time_of_later_moments(queue: TakeCase) -> None:
    queue.accept(1)
    grant = queue.take(quota()).grant
    assert grant.granted_ms == queue.clock.now_ms
    assert grant.server_ms(grant.asked_s + 0.25) == grant.granted_ms + 250
    assert grant.server_ms(grant.asked_s - 1) == grant.granted_ms


def test_what_is_past_its_deadline_is_not_started_and_costs_nothing(queue: TakeCase) -> None:
    queue.accept(400, start_within_ms=500)
    queue.accept(400)
    queue.clock.advance_ms(500)
    result = queue.take(quota(tokens=400))
    assert [taken.key for taken in result.expired] == ["job:0"]
    assert (ids(result), result.ready_left) == (["1"], 0)


def test_before_its_deadline_a_request_is_started(queue: TakeCase) -> None:
    queue.accept(400, start_within_ms=500)
    queue.clock.advance_ms(499)
    assert ids(queue.take(quota())) == ["0"]


def test_what_a_gone_caller_waited_for_is_not_started(queue: TakeCase) -> None:
    queue.client.zadd(redis_keys.callers("f"), {"job": queue.clock.now_ms})
    queue.accept(400)
    queue.clock.advance_ms(ALIVE_MS + 1)
    result = queue.take(quota())
    assert ([taken.key for taken in result.dropped], ids(result), result.ready_left) == (["job:0"], [], 0)


def test_while_a_caller_lives_its_calls_are_started(queue: TakeCase) -> None:
    queue.client.zadd(redis_keys.callers("f"), {"job": queue.clock.now_ms})
    queue.accept(400)
    queue.clock.advance_ms(ALIVE_MS)
    assert ids(queue.take(quota())) == ["0"]


def test_while_urgent_requests_come_others_leave_them_a_part_of_every_limit(queue: TakeCase) -> None:
    limits = quota(requests=100)
    queue.accept(1, urgent=True)
    queue.accept(*[1] * 200)
    assert len(ids(queue.take(limits))) == 95
    assert queue.take(limits).wait_ms == 1001
    queue.accept(*[1] * 6, urgent=True)
    assert ids(queue.take(limits)) == [str(number) for number in range(201, 206)]


def test_a_while_after_the_last_urgent_request_nothing_is_left_for_others(queue: TakeCase) -> None:
    queue.accept(1, urgent=True)
    queue.take(quota(requests=100))
    queue.clock.advance_ms(URGENT_MS + 1)
    queue.accept(*[1] * 200)
    assert len(ids(queue.take(quota(requests=100)))) == 100


def test_urgent_requests_may_use_all_of_a_limit_and_of_a_small_one_nothing_is_left_to_them(queue: TakeCase) -> None:
    queue.accept(*[1] * 120, urgent=True)
    assert len(ids(queue.take(quota(requests=100), most=200))) == 100
    queue.clock.advance_ms(2000)
    queue.accept(*[1] * 5)
    small = quota(requests=3, name="small")
    assert len(ids(queue.take(small))) == 3


def test_what_is_too_large_to_leave_a_part_starts_beside_urgent_requests_as_ever(queue: TakeCase) -> None:
    queue.accept(30, urgent=True)
    queue.accept(960, 10)
    assert ids(queue.take(quota(tokens=1000))) == ["0", "1"]
    queue.clock.advance_ms(2000)
    assert ids(queue.take(quota(tokens=1000))) == ["2"]
