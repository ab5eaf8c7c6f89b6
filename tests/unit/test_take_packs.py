"""Taking requests that share calls: which share one, what it costs, and that nothing else changes by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet.redis_keys import QueueKeys
from keyfleet_workers.dispatch import taker as taker_module
from keyfleet_workers.dispatch.taker import LOOKAHEAD, MOST_REQUESTS, MOST_SHARED_TOKENS, TakeResult
from keyfleet_workers.limiter import QuotaLimit
from keyfleet_workers.quota_pools import Quota
from support.take_case import TakeCase, calls, ids, quota

if TYPE_CHECKING:
    from support.stand_in import StandIn

WINDOW_MS = 1000
UNLIMITED = Quota("none", ())


@pytest.fixture
def queue(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> TakeCase:
    monkeypatch.setattr(taker_module, "elapsed_s", stand_in.clock.time)
    return TakeCase(stand_in)


def charged(queue: TakeCase, of: Quota) -> list[int]:
    """What stands in each window."""
    client: Any = queue.client
    return [int(client.hget(limit.key, "total") or 0) for limit in of.limits]


def test_requests_of_one_pack_share_a_call_that_costs_one_request_and_all_their_tokens(queue: TakeCase) -> None:
    queue.accept(10, 20, 30, pack="a:9")
    limits = quota()
    assert calls(queue.take(limits)) == [["0", "1", "2"]]
    assert charged(queue, limits) == [1, 60]


def test_each_request_of_a_call_has_a_lease_of_its_own_and_its_pack(queue: TakeCase) -> None:
    queue.accept(1, 1, pack="a:9")
    taken = queue.take(quota()).taken
    assert [one.pack for one in taken] == ["a:9", "a:9"]
    assert len({one.token for one in taken}) == 2
    assert queue.job.depths("q")["running"] == 2


def test_only_requests_of_the_same_pack_share_a_call(queue: TakeCase) -> None:
    for pack in ("a:9", "", "b:9", "a:9", "", "a:8"):
        queue.accept(1, pack=pack)
    limits = quota()
    assert calls(queue.take(limits)) == [["0", "3"], ["1"], ["2"], ["4"], ["5"]]
    assert charged(queue, limits) == [5, 6]


def test_a_call_carries_no_more_requests_than_its_pack_allows(queue: TakeCase) -> None:
    queue.accept(*[1] * 7, pack="a:3")
    assert calls(queue.take(quota())) == [["0", "1", "2"], ["3", "4", "5"], ["6"]]


def test_a_call_carries_no_more_than_whoever_takes_wants(queue: TakeCase) -> None:
    queue.accept(*[1] * 3, pack="a:9")
    assert calls(queue.taker.take("q", quota(), 2, most_inputs=1)) == [["0"], ["1"]]


def test_a_shared_call_has_a_bound_of_tokens_that_one_request_alone_may_pass(queue: TakeCase) -> None:
    queue.accept(MOST_SHARED_TOKENS - 1, 1, 1, MOST_SHARED_TOKENS + 5, 1, pack="a:9")
    assert calls(queue.take(UNLIMITED)) == [["0", "1"], ["2"], ["3"], ["4"]]


def test_no_more_calls_begin_than_asked_for_and_those_are_filled(queue: TakeCase) -> None:
    for pack in ("a:2", "b:9", "", "a:2", "b:9", "a:2"):
        queue.accept(1, pack=pack)
    result = queue.take(quota(), most=2)
    assert calls(result) == [["0", "3"], ["1", "4"]]
    assert (result.ready_left, result.wait_ms, result.limit) == (2, 0, None)


def test_a_call_that_has_begun_is_filled_where_no_request_is_left_for_another(queue: TakeCase) -> None:
    for pack in ("a:9", "", "a:9", "b:9", "a:9"):
        queue.accept(10, pack=pack)
    limits = quota(requests=1)
    result = queue.take(limits)
    assert calls(result) == [["0", "2", "4"]]
    assert (result.ready_left, result.wait_ms, result.limit) == (2, 1001, limits.limits[0])


def test_who_fills_a_call_leaves_the_tokens_that_the_next_request_needs(queue: TakeCase) -> None:
    queue.accept(100, pack="a:9")
    queue.accept(800)
    queue.accept(100, 1, pack="a:9")
    limits = quota(requests=1)
    assert calls(queue.take(limits)) == [["0", "2"]]
    queue.clock.advance_ms(1001)
    assert calls(queue.take(limits)) == [["1"]]


def test_where_tokens_are_short_the_run_ends_as_ever(queue: TakeCase) -> None:
    queue.accept(400, 400, 400, 1, pack="a:9")
    limits = quota()
    result = queue.take(limits)
    assert calls(result) == [["0", "1"]]
    assert (result.ready_left, result.wait_ms, result.limit) == (2, 1001, limits.limits[1])
    queue.clock.advance_ms(1001)
    assert calls(queue.take(limits)) == [["2", "3"]]


def test_large_requests_do_not_starve_behind_calls_that_fill(queue: TakeCase) -> None:
    queue.accept(600, pack="a:99")
    queue.accept(900)
    queue.accept(*[100] * 50, pack="a:99")
    limits = quota()
    assert calls(queue.take(limits)) == [["0"]]
    for _ in range(4):
        queue.clock.advance_ms(200)
        assert ids(queue.take(limits)) == []
    queue.clock.advance_ms(201)
    assert calls(queue.take(limits)) == [["1"], ["2"]]


def test_many_that_are_ready_are_spread_over_the_calls_that_may_begin(queue: TakeCase) -> None:
    queue.accept(*[1] * 400, pack="a:2048")
    assert [len(call) for call in calls(queue.take(UNLIMITED, most=4))] == [100] * 4


def test_other_keys_that_serve_the_queue_have_their_share(queue: TakeCase) -> None:
    queue.accept(*[1] * 400, pack="a:2048")
    queue.note_capacity(10**6, queue.clock.now_ms)
    capacity = QueueKeys("f", "q").capacity
    queue.client.hset(capacity, "one", f"1000000 {queue.clock.now_ms}")
    queue.client.hset(capacity, "gone", f"1000000 {queue.clock.now_ms - 1}")
    assert [len(call) for call in calls(queue.take(UNLIMITED, most=4))] == [50] * 4


def test_no_call_is_spent_on_a_few_where_more_are_ready(queue: TakeCase) -> None:
    queue.accept(*[1] * 80, pack="a:2048")
    assert [len(call) for call in calls(queue.take(UNLIMITED, most=100))] == [32, 32, 16]


def test_the_fewer_calls_a_limit_has_left_the_more_each_carries(queue: TakeCase) -> None:
    queue.accept(*[1] * 600, pack="a:2048")
    limits = quota(requests=24)
    assert [len(call) for call in calls(queue.take(limits))] == [200] * 3


def test_with_the_last_calls_of_a_limit_all_that_is_ready_goes(queue: TakeCase) -> None:
    queue.accept(*[1] * 600, pack="a:2048")
    assert [len(call) for call in calls(queue.take(quota(requests=3)))] == [600]


def test_one_take_has_a_bound_of_requests(queue: TakeCase) -> None:
    queue.accept(*[1] * (MOST_REQUESTS + 10), pack="a:2048")
    result = queue.take(UNLIMITED, most=1)
    assert [len(call) for call in calls(result)] == [MOST_REQUESTS]
    assert (result.ready_left, result.wait_ms) == (10, 0)


def test_what_never_fits_is_passed_over_by_calls_that_fill(queue: TakeCase) -> None:
    queue.accept(1, *[5000] * (LOOKAHEAD - 1), 1, pack="a:2048")
    assert calls(queue.take(quota())) == [["0", str(LOOKAHEAD)]]


def test_urgent_requests_are_in_the_first_calls(queue: TakeCase) -> None:
    queue.accept(1, 1, pack="a:2")
    queue.accept(1, urgent=True)
    assert calls(queue.take(quota())) == [["2"], ["0", "1"]]


@pytest.mark.parametrize("pack", ["nothing", "a:", "a:0", "a:1", "a:-4", ":", "a:2.5"])
def test_a_pack_that_makes_no_sense_shares_nothing(queue: TakeCase, pack: str) -> None:
    queue.accept(1, 1, pack=pack)
    limits = quota()
    assert calls(queue.take(limits)) == [["0"], ["1"]]
    assert charged(queue, limits) == [2, 2]


ROWS = st.lists(
    st.tuples(st.integers(1, 120), st.sampled_from(("", "a:2", "a:5", "b:99")), st.booleans()), min_size=1, max_size=40
)


class Books:
    """What was granted, by its time, and who was in which call."""

    def __init__(self, rows: list[tuple[int, str, bool]]) -> None:
        self.rows = rows
        self.granted: list[tuple[int, int, int]] = []
        self.seen: list[str] = []

    def note(self, result: TakeResult, now_ms: int, most: int) -> None:
        assert len(result.packs) <= most
        for pack in result.packs:
            names = [taken.key.removeprefix("job:") for taken in pack.members]
            kinds = {self.rows[int(name)][1] for name in names}
            assert len(kinds) == 1
            assert len(names) <= int(kinds.pop().partition(":")[2] or 1)
            assert names == sorted(names, key=lambda name: (not self.rows[int(name)][2], int(name)))
            self.seen += names
            self.granted.append((now_ms, 1, sum(self.rows[int(name)][0] for name in names)))

    def check_windows(self, requests: int, tokens: int) -> None:
        for at_ms, _, _ in self.granted:
            inside = [one for one in self.granted if at_ms - WINDOW_MS <= one[0] <= at_ms]
            assert sum(one[1] for one in inside) <= requests
            assert sum(one[2] for one in inside) <= tokens


@given(
    rows=ROWS,
    requests=st.integers(1, 6),
    tokens=st.integers(120, 400),
    steps=st.lists(st.tuples(st.integers(0, 600), st.integers(1, 5)), min_size=1, max_size=12),
)
def test_whatever_shares_calls_each_request_is_in_one_and_every_limit_holds(
    stand_in: StandIn, rows: list[tuple[int, str, bool]], requests: int, tokens: int, steps: list[tuple[int, int]]
) -> None:
    queue, limits, books = TakeCase(stand_in), quota(requests=requests, tokens=tokens), Books(rows)
    for cost, pack, urgent in rows:
        queue.accept(cost, urgent=urgent, pack=pack)
    for gap_ms, most in [*steps, *[(WINDOW_MS + 1, 5)] * len(rows)]:
        stand_in.clock.advance_ms(gap_ms)
        first = next((name for name in _in_order(rows) if name not in books.seen), None)
        books.note(queue.take(limits, most), stand_in.clock.now_ms, most)
        if gap_ms > WINDOW_MS:
            assert first is None or first in books.seen, "the first in the queue waited behind others"
    assert sorted(books.seen, key=int) == [str(number) for number in range(len(rows))]
    books.check_windows(requests, tokens)


def _in_order(rows: list[tuple[int, str, bool]]) -> list[str]:
    return sorted((str(number) for number in range(len(rows))), key=lambda name: (not rows[int(name)][2], int(name)))


def test_a_limit_of_requests_alone_is_used_in_full(queue: TakeCase) -> None:
    only = Quota("only", (QuotaLimit("r", "requests", 2, WINDOW_MS, 0),))
    queue.accept(*[1] * 5, pack="a:2")
    assert calls(queue.take(only)) == [["0", "1"], ["2", "3"]]
