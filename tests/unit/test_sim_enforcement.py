"""Each kind of enforcement admits exactly what its rule says, over arbitrary arrivals on an injected clock."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from keyfleet.sim.config import Kind, SimLimit
from keyfleet.sim.enforcement import FixedWindow, Quota, SlidingWindow, TokenBucket, Window, make_window
from keyfleet.sim.trailing import TrailingSum

S = 1_000_000_000

amounts = st.integers(1, 20)
windows_ns = st.integers(1, 50)
arrivals = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 20)), max_size=60)
kinds = st.sampled_from(["sliding", "token_bucket", "fixed"])


def admitted(window: Window, steps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Drive a window with (pause, cost) steps as a server would; returns (time, cost) of what was admitted."""
    now_ns = 0
    passed = []
    for pause_ns, cost in steps:
        now_ns += pause_ns
        if cost <= window.amount and window.wait_ns(now_ns, cost) == 0:
            window.charge(now_ns, cost)
            passed.append((now_ns, cost))
    return passed


@given(amounts, windows_ns, arrivals)
def test_a_sliding_window_admits_exactly_what_fits_every_trailing_window(
    amount: int, window_ns: int, steps: list[tuple[int, int]]
) -> None:
    window = SlidingWindow(amount, window_ns)
    model: list[tuple[int, int]] = []
    now_ns = 0
    for pause_ns, cost in steps:
        now_ns += pause_ns
        in_window = sum(spent for at_ns, spent in model if now_ns - window_ns < at_ns <= now_ns)
        fits = in_window + cost <= amount
        assert window.remaining(now_ns) == amount - in_window
        if cost <= amount:
            assert (window.wait_ns(now_ns, cost) == 0) == fits
            if fits:
                window.charge(now_ns, cost)
                model.append((now_ns, cost))


@given(amounts, windows_ns, arrivals)
def test_a_token_bucket_admits_at_most_its_amount_and_what_flowed_in_since(
    amount: int, window_ns: int, steps: list[tuple[int, int]]
) -> None:
    passed = admitted(TokenBucket(amount, window_ns), steps)
    for first, (start_ns, _) in enumerate(passed):
        spent = 0
        for at_ns, cost in passed[first:]:
            spent += cost
            assert spent <= amount + Fraction(amount * (at_ns - start_ns), window_ns)


@given(amounts, windows_ns, arrivals)
def test_a_token_bucket_is_as_full_as_exact_fractions_say(
    amount: int, window_ns: int, steps: list[tuple[int, int]]
) -> None:
    bucket = TokenBucket(amount, window_ns)
    level = Fraction(amount)
    now_ns = 0
    for pause_ns, cost in steps:
        now_ns += pause_ns
        level = min(level + Fraction(amount * pause_ns, window_ns), Fraction(amount))
        assert bucket.remaining(now_ns) == level // 1
        if cost <= amount:
            assert (bucket.wait_ns(now_ns, cost) == 0) == (level >= cost)
            if level >= cost:
                bucket.charge(now_ns, cost)
                level -= cost


@given(amounts, windows_ns, arrivals)
def test_a_fixed_window_admits_exactly_what_fits_each_window_of_the_clock(
    amount: int, window_ns: int, steps: list[tuple[int, int]]
) -> None:
    window = FixedWindow(amount, window_ns)
    spent: dict[int, int] = {}
    now_ns = 0
    for pause_ns, cost in steps:
        now_ns += pause_ns
        number = now_ns // window_ns
        fits = spent.get(number, 0) + cost <= amount
        if cost <= amount:
            assert (window.wait_ns(now_ns, cost) == 0) == fits
            if fits:
                window.charge(now_ns, cost)
                spent[number] = spent.get(number, 0) + cost


@given(kinds, amounts, windows_ns, arrivals, st.integers(1, 20))
def test_a_wait_is_the_shortest_that_comes_true(
    kind: Kind, amount: int, window_ns: int, steps: list[tuple[int, int]], cost: int
) -> None:
    cost = min(cost, amount)
    window = make_window(kind, amount, window_ns)
    admitted(window, steps)
    now_ns = sum(pause_ns for pause_ns, _ in steps)
    wait_ns = window.wait_ns(now_ns, cost)
    if wait_ns > 0:
        assert window.wait_ns(now_ns + wait_ns - 1, cost) == 1
    assert window.wait_ns(now_ns + wait_ns, cost) == 0


@given(kinds, amounts, windows_ns, arrivals)
def test_a_reset_is_when_the_whole_amount_is_there_again(
    kind: Kind, amount: int, window_ns: int, steps: list[tuple[int, int]]
) -> None:
    window = make_window(kind, amount, window_ns)
    admitted(window, steps)
    now_ns = sum(pause_ns for pause_ns, _ in steps)
    reset_ns = window.reset_ns(now_ns)
    if reset_ns > 0:
        assert window.reset_ns(now_ns + reset_ns - 1) == 1
    assert window.remaining(now_ns + reset_ns) == amount


@given(kinds, st.lists(st.tuples(st.integers(0, 3 * S), st.integers(1, 40)), max_size=40))
def test_a_request_that_one_limit_refuses_is_charged_to_none(kind: Kind, steps: list[tuple[int, int]]) -> None:
    quota = Quota([SimLimit("requests", 3, 2.0), SimLimit("tokens", 30, 5.0)], kind=kind)
    now_ns = 0
    for pause_ns, tokens in steps:
        now_ns += pause_ns
        before = [standing.remaining for standing in quota.standings(now_ns)]
        refusal = quota.admit(now_ns, tokens)
        after = [standing.remaining for standing in quota.standings(now_ns)]
        assert (refusal is None) == (before[0] >= 1 and before[1] >= tokens)
        assert after == (before if refusal else [before[0] - 1, before[1] - tokens])


def test_the_limit_with_the_longest_wait_is_the_one_that_refuses() -> None:
    quota = Quota([SimLimit("requests", 1, 1.0), SimLimit("tokens", 10, 60.0)], kind="sliding")
    assert quota.admit(0, 10) is None
    refusal = quota.admit(S // 2, 4)
    assert refusal is not None
    assert (refusal.limit.of, refusal.used, refusal.requested) == ("tokens", 10, 4)
    assert refusal.wait_ns == 60 * S - S // 2


def test_a_request_larger_than_a_limit_has_no_wait() -> None:
    refusal = Quota([SimLimit("tokens", 10, 60.0)], kind="sliding").admit(0, 11)
    assert refusal is not None
    assert refusal.wait_ns is None


def test_a_refused_request_counts_against_requests_where_that_is_set() -> None:
    limits = [SimLimit("requests", 1, 10.0), SimLimit("tokens", 100, 10.0)]
    quota = Quota(limits, kind="sliding", refused_counts=True)
    assert quota.admit(0, 5) is None
    assert quota.admit(9 * S, 5) is not None
    assert quota.admit(11 * S, 5) is not None, "the refusal 2 s ago fills the window"
    assert {one.limit.of: one.remaining for one in quota.standings(11 * S)} == {"requests": 0, "tokens": 100}


def test_a_quantised_limit_keeps_its_rate_in_shorter_windows() -> None:
    quota = Quota([SimLimit("requests", 120, 60.0)], kind="sliding", quantum_s=1.0)
    assert [quota.admit(0, 1) is None for _ in range(3)] == [True, True, False]
    assert quota.admit(S - 1, 1) is not None
    assert quota.admit(S, 1) is None
    assert quota.standings(S)[0].remaining == 117, "headers show the limit as written"


def test_a_quantised_limit_below_one_per_quantum_admits_one_in_its_share_of_the_window() -> None:
    quota = Quota([SimLimit("requests", 6, 60.0)], kind="sliding", quantum_s=1.0)
    assert quota.admit(0, 1) is None
    refusal = quota.admit(0, 1)
    assert refusal is not None
    assert refusal.wait_ns == 10 * S


@given(windows_ns, st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), max_size=60))
def test_a_trailing_sum_is_the_sum_of_what_is_younger_than_its_window(
    window_ns: int, steps: list[tuple[int, int]]
) -> None:
    trailing = TrailingSum(window_ns)
    added: list[tuple[int, int]] = []
    now_ns = 0
    for pause_ns, amount in steps:
        now_ns += pause_ns
        added.append((now_ns, amount))
        assert trailing.add(now_ns, amount) == sum(one for at_ns, one in added if at_ns > now_ns - window_ns)
