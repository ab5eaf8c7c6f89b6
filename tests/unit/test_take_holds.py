"""Taking where something must rest: holds, lost models, slowed quotas, and what others use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyfleet.ledger import Transitions
from keyfleet_workers.dispatch import taker as taker_module
from keyfleet_workers.holds import KeyState
from keyfleet_workers.limiter import Correction, ExactRedisStorage
from keyfleet_workers.limiter.ramps import RAMP_STEP_MS, Ramps
from support.take_case import LEASE_MS, SCOPES, TakeCase, ids, quota

if TYPE_CHECKING:
    from support.stand_in import StandIn


@pytest.fixture
def queue(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> TakeCase:
    monkeypatch.setattr(taker_module, "elapsed_s", stand_in.clock.time)
    return TakeCase(stand_in)


@pytest.mark.parametrize("scope", [*SCOPES.all(), "quota:quota"])
def test_a_hold_is_obeyed_and_gives_its_reason_and_wait(queue: TakeCase, scope: str) -> None:
    queue.accept(1, 1)
    queue.holds.set(scope, KeyState.COOLING, "slow_down: too fast", 1500)
    result = queue.take(quota())
    assert result.hold is not None
    assert (result.taken, result.wait_ms, result.hold.describe()) == ((), 1500, "cooling: slow_down: too fast")
    assert (result.ready_left, result.limit) == (2, None)
    queue.clock.advance_ms(1500)
    assert len(queue.take(quota()).taken) == 2


def test_a_hold_without_an_end_stands_until_it_is_lifted(queue: TakeCase) -> None:
    queue.accept(1)
    queue.holds.set(SCOPES.credit, KeyState.OUT_OF_CREDIT, "insufficient_quota", None)
    result = queue.take(quota())
    assert result.hold is not None
    assert (result.hold.state, result.wait_ms) == (KeyState.OUT_OF_CREDIT, 60_000)
    queue.clock.advance_ms(10 * 24 * 3_600_000)
    assert queue.take(quota()).taken == ()
    assert queue.holds.lift(SCOPES.credit) == 1
    assert len(queue.take(quota()).taken) == 1


def test_of_several_holds_the_longest_is_told(queue: TakeCase) -> None:
    queue.accept(1)
    queue.holds.set(SCOPES.failing, KeyState.COOLING, "short", 500)
    queue.holds.set("quota:quota", KeyState.COOLING, "long", 4000)
    result = queue.take(quota())
    assert result.hold is not None
    assert (result.hold.reason, result.wait_ms) == ("long", 4000)


def test_a_hold_of_one_quota_leaves_others_alone(queue: TakeCase) -> None:
    queue.accept(1)
    queue.holds.set("quota:quota", KeyState.COOLING, "busy", 5000)
    assert len(queue.take(quota(name="other")).taken) == 1


def test_a_key_that_lost_the_model_leaves_its_requests_to_others_for_a_while(queue: TakeCase) -> None:
    queue.accept(1)
    transitions = Transitions(queue.client, "f", lease_ms=LEASE_MS, declare_flags=False)
    queue.note_capacity(1000, queue.clock.now_ms + 60_000)
    assert transitions.lose_model("q", "one", 5000)
    result = queue.take(quota())
    assert result.hold is not None
    assert (result.taken, result.wait_ms, result.hold.reason) == ((), 5000, "the key lost this model")
    queue.clock.advance_ms(5001)
    assert len(queue.take(quota()).taken) == 1


def test_a_key_that_is_alone_leaves_its_model_for_a_moment_for_one_that_may_be_coming(queue: TakeCase) -> None:
    queue.accept(1)
    transitions = Transitions(queue.client, "f", lease_ms=LEASE_MS, declare_flags=False)
    assert not transitions.lose_model("q", "one", 5000, alone_ms=1000)
    assert queue.take(quota()).wait_ms == 1000
    queue.clock.advance_ms(1001)
    assert len(queue.take(quota()).taken) == 1


def test_the_last_key_that_serves_a_model_can_not_leave_it_to_others(queue: TakeCase) -> None:
    transitions = Transitions(queue.client, "f", lease_ms=LEASE_MS, declare_flags=False)
    assert not transitions.lose_model("q", "one", 5000)
    queue.note_capacity(1000, queue.clock.now_ms + 60_000)
    assert transitions.lose_model("q", "one", 5000)
    assert not transitions.lose_model("q", "other", 5000)  # "one" has just left
    queue.note_capacity(1000, queue.clock.now_ms - 1)
    queue.clock.advance_ms(5001)
    assert not transitions.lose_model("q", "one", 5000)  # "other" is gone


def test_a_quota_that_was_slowed_down_opens_half_and_grows_back(queue: TakeCase) -> None:
    ramps = Ramps(queue.client, step_ms=RAMP_STEP_MS, declare_flags=False)
    queue.accept(*[1] * 40)
    granted_ms = queue.take(quota(requests=10), most=1).grant.granted_ms
    queue.clock.advance_ms(5000)
    ramps.slow_down("quota", granted_ms)
    ramps.slow_down("quota", granted_ms)  # a call that was under way with the first
    assert len(queue.take(quota(requests=10)).taken) == 5
    queue.clock.advance_ms(RAMP_STEP_MS)
    assert len(queue.take(quota(requests=10)).taken) == 7
    queue.clock.advance_ms(RAMP_STEP_MS)
    assert len(queue.take(quota(requests=10)).taken) == 10


def test_a_request_larger_than_what_a_slowed_quota_opens_may_start_alone(queue: TakeCase) -> None:
    Ramps(queue.client, declare_flags=False).slow_down("quota", queue.clock.now_ms)
    queue.accept(800, 10)
    assert ids(queue.take(quota())) == ["0"]
    assert queue.take(quota()).wait_ms > 0


def test_what_others_use_of_the_account_is_left_to_them(queue: TakeCase) -> None:
    limits = quota(requests=10)
    queue.accept(*[1] * 20)
    grant = queue.take(limits, most=2).grant
    assert (grant.left, grant.foreign) == ((8, 998), (0, 0))
    storage = ExactRedisStorage(
        "keyfleet+redis://stand-in", connection_pool=queue.client.connection_pool, declare_flags=False
    )
    storage.correct(limits.limits[:1], [Correction(grant.granted_ms, grant.left[0], 3, 700)])
    result = queue.take(limits)
    assert (len(result.taken), result.grant.foreign, result.wait_ms) == (3, (5, 0), 700)
