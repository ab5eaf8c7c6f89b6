"""Taking: quota and lease in one step, on a stand-in server whose clock the tests move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
import redis

from keyfleet.broker import connect
from keyfleet.contract import Request
from keyfleet.ledger import JobLedger, JobOptions, Transitions
from keyfleet.redis_keys import QueueKeys
from keyfleet_workers.dispatch import taker as taker_module
from keyfleet_workers.dispatch.taker import HOPELESS_GRACE_MS, LOOKAHEAD, Taker, TakeResult
from keyfleet_workers.holds import Holds, KeyScopes, KeyState
from keyfleet_workers.limiter import Correction, ExactRedisStorage, QuotaLimit
from keyfleet_workers.limiter.ramps import RAMP_STEP_MS, Ramps
from keyfleet_workers.quota_pools import Quota

if TYPE_CHECKING:
    from support.stand_in import StandIn

LEASE_MS = 30_000
SCOPES = KeyScopes("fingerprint", "org", "host")


def quota(*, requests: int = 1000, tokens: int = 1000, name: str = "quota") -> Quota:
    return Quota(
        name,
        (
            QuotaLimit(f"{name}:requests", "requests", requests, 1000, 0),
            QuotaLimit(f"{name}:tokens", "tokens", tokens, 1000, 0),
        ),
    )


class Queue:
    """A queue with one job, and a key that takes from it."""

    def __init__(self, stand_in: StandIn) -> None:
        self.clock = stand_in.clock
        self.client: redis.Redis = stand_in.client()
        self.job = JobLedger(self.client, "f", "job", JobOptions(), declare_flags=False)
        self.holds = Holds(self.client, declare_flags=False)
        self.taker = self.new_taker("w")
        self.accepted = 0

    def new_taker(self, worker_id: str) -> Taker:
        return Taker(
            *(self.client, "f"),
            worker_id=worker_id,
            key_name="one",
            scopes=SCOPES,
            lease_ms=LEASE_MS,
            declare_flags=False,
        )

    def accept(self, *costs: int, urgent: bool = False) -> None:
        new = [Request(str(self.accepted + n), "/v1/x", "m", b"{}", cost, {}, urgent) for n, cost in enumerate(costs)]
        self.accepted += len(costs)
        assert all(self.job.accept("q", new))

    def take(self, of: Quota, most: int = 100) -> TakeResult:
        return self.taker.take("q", of, most)

    def note_capacity(self, largest_tokens: int, until_ms: int) -> None:
        self.client.hset(QueueKeys("f", "q").capacity, "other", f"{largest_tokens} {until_ms}")


@pytest.fixture
def queue(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setattr(taker_module, "elapsed_s", stand_in.clock.time)
    return Queue(stand_in)


def ids(result: TakeResult) -> Sequence[str]:
    return [taken.key.removeprefix("job:") for taken in result.taken]


def test_the_longest_run_that_fits_is_taken(queue: Queue) -> None:
    queue.accept(400, 400, 400, 100)
    limits = quota()
    result = queue.take(limits)
    assert ids(result) == ["0", "1"]
    assert (result.ready_left, result.wait_ms, result.limit) == (2, 1001, limits.limits[1])


def test_large_requests_do_not_starve_behind_small_ones(queue: Queue) -> None:
    queue.accept(600, 900, *[100] * 50)
    limits = quota()
    assert ids(queue.take(limits)) == ["0"]
    for _ in range(4):  # small ones behind the large one would fit, and wait
        queue.clock.advance_ms(200)
        assert ids(queue.take(limits)) == []
    queue.clock.advance_ms(201)
    assert ids(queue.take(limits)) == ["1", "2"]


def test_urgent_requests_go_before_bulk(queue: Queue) -> None:
    queue.accept(1, 1)
    queue.accept(1, 1, urgent=True)
    assert ids(queue.take(quota(), most=3)) == ["2", "3", "0"]


def test_an_urgent_request_that_must_wait_is_not_overtaken_by_bulk(queue: Queue) -> None:
    queue.accept(10)
    queue.accept(600, 600, urgent=True)
    assert ids(queue.take(quota())) == ["1"]


def test_no_more_is_taken_than_asked_for_and_then_there_is_no_wait(queue: Queue) -> None:
    queue.accept(1, 1, 1)
    result = queue.take(quota(), most=2)
    assert (ids(result), result.ready_left, result.wait_ms, result.limit) == (["0", "1"], 1, 0, None)


def test_the_promised_wait_comes_true(queue: Queue) -> None:
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


def test_a_key_without_limits_takes_all(queue: Queue) -> None:
    queue.accept(*[10**9] * 3)
    assert len(queue.take(Quota("none", ())).taken) == 3


def test_an_empty_queue_gives_nothing_and_no_wait(queue: Queue) -> None:
    result = queue.take(quota())
    assert (result.taken, result.impossible, result.ready_left, result.wait_ms) == ((), (), 0, 0)


def test_what_never_fits_this_key_is_passed_over(queue: Queue) -> None:
    queue.accept(5000, 10, 5000, 20)
    result = queue.take(quota())
    assert (ids(result), result.impossible, result.ready_left, result.wait_ms) == (["1", "3"], (), 2, 0)
    assert ids(queue.take(quota(tokens=5000, name="large"))) == ["0"]


def test_only_so_many_are_passed_over(queue: Queue) -> None:
    queue.accept(*[5000] * LOOKAHEAD, 10)
    assert ids(queue.take(quota())) == []
    assert ids(queue.take(quota(tokens=5000, name="large"), most=1)) == ["0"]
    assert ids(queue.take(quota())) == [str(LOOKAHEAD)]


def test_passing_over_does_not_shorten_the_run(queue: Queue) -> None:
    queue.accept(*[5000] * 40, *[1] * 40)
    assert len(queue.take(quota(), most=40).taken) == 40


def test_what_fits_no_key_is_given_up_after_a_grace(queue: Queue) -> None:
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
    queue: Queue, largest_tokens: int, for_ms: int, given_up: bool
) -> None:
    queue.accept(5000)
    queue.clock.advance_ms(HOPELESS_GRACE_MS)
    queue.note_capacity(largest_tokens, queue.clock.now_ms + for_ms)
    assert bool(queue.take(quota()).impossible) is given_up


@pytest.mark.parametrize("scope", [*SCOPES.all(), "quota:quota"])
def test_a_hold_is_obeyed_and_gives_its_reason_and_wait(queue: Queue, scope: str) -> None:
    queue.accept(1, 1)
    queue.holds.set(scope, KeyState.COOLING, "slow_down: too fast", 1500)
    result = queue.take(quota())
    assert result.hold is not None
    assert (result.taken, result.wait_ms, result.hold.describe()) == ((), 1500, "cooling: slow_down: too fast")
    assert (result.ready_left, result.limit) == (2, None)
    queue.clock.advance_ms(1500)
    assert len(queue.take(quota()).taken) == 2


def test_a_hold_without_an_end_stands_until_it_is_lifted(queue: Queue) -> None:
    queue.accept(1)
    queue.holds.set(SCOPES.credit, KeyState.OUT_OF_CREDIT, "insufficient_quota", None)
    result = queue.take(quota())
    assert result.hold is not None
    assert (result.hold.state, result.wait_ms) == (KeyState.OUT_OF_CREDIT, 60_000)
    queue.clock.advance_ms(10 * 24 * 3_600_000)
    assert queue.take(quota()).taken == ()
    assert queue.holds.lift(SCOPES.credit) == 1
    assert len(queue.take(quota()).taken) == 1


def test_of_several_holds_the_longest_is_told(queue: Queue) -> None:
    queue.accept(1)
    queue.holds.set(SCOPES.failing, KeyState.COOLING, "short", 500)
    queue.holds.set("quota:quota", KeyState.COOLING, "long", 4000)
    result = queue.take(quota())
    assert result.hold is not None
    assert (result.hold.reason, result.wait_ms) == ("long", 4000)


def test_a_hold_of_one_quota_leaves_others_alone(queue: Queue) -> None:
    queue.accept(1)
    queue.holds.set("quota:quota", KeyState.COOLING, "busy", 5000)
    assert len(queue.take(quota(name="other")).taken) == 1


def test_a_key_that_lost_the_model_leaves_its_requests_to_others_for_a_while(queue: Queue) -> None:
    queue.accept(1)
    transitions = Transitions(queue.client, "f", lease_ms=LEASE_MS, declare_flags=False)
    queue.note_capacity(1000, queue.clock.now_ms + 60_000)
    assert transitions.lose_model("q", "one", 5000)
    result = queue.take(quota())
    assert result.hold is not None
    assert (result.taken, result.wait_ms, result.hold.reason) == ((), 5000, "the key lost this model")
    queue.clock.advance_ms(5001)
    assert len(queue.take(quota()).taken) == 1


def test_the_last_key_that_serves_a_model_can_not_leave_it_to_others(queue: Queue) -> None:
    transitions = Transitions(queue.client, "f", lease_ms=LEASE_MS, declare_flags=False)
    assert not transitions.lose_model("q", "one", 5000)
    queue.note_capacity(1000, queue.clock.now_ms + 60_000)
    assert transitions.lose_model("q", "one", 5000)
    assert not transitions.lose_model("q", "other", 5000)  # "one" has just left
    queue.note_capacity(1000, queue.clock.now_ms - 1)
    queue.clock.advance_ms(5001)
    assert not transitions.lose_model("q", "one", 5000)  # "other" is gone


def test_a_quota_that_was_slowed_down_opens_half_and_grows_back(queue: Queue) -> None:
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


def test_a_request_larger_than_what_a_slowed_quota_opens_may_start_alone(queue: Queue) -> None:
    Ramps(queue.client, declare_flags=False).slow_down("quota", queue.clock.now_ms)
    queue.accept(800, 10)
    assert ids(queue.take(quota())) == ["0"]
    assert queue.take(quota()).wait_ms > 0


def test_what_others_use_of_the_account_is_left_to_them(queue: Queue) -> None:
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


def test_every_lease_has_a_token_of_its_own(queue: Queue) -> None:
    queue.accept(1, 1)
    taken = [queue.take(quota(), most=1).taken[0] for _ in range(2)]
    assert len({one.token for one in taken}) == 2
    assert {one.key for one in taken} == {"job:0", "job:1"}


def test_nothing_is_charged_for_what_was_not_taken(queue: Queue) -> None:
    limits = quota(requests=3, tokens=100)
    queue.accept(60, 60)
    queue.take(limits)
    client: Any = queue.client
    totals = [client.hget(limit.key, "total") for limit in limits.limits]
    assert totals == [b"1", b"60"]


def test_a_quota_that_the_server_lost_counts_as_full_for_one_window(queue: Queue) -> None:
    limits = quota(requests=10)
    queue.accept(*[1] * 4)
    queue.take(limits, most=1)
    queue.client.delete(*(limit.key for limit in limits.limits))
    queue.clock.advance_ms(100)
    assert queue.take(limits).wait_ms == 1001
    queue.clock.advance_ms(1001)
    assert len(queue.take(limits).taken) == 3


def test_a_lost_quota_that_another_worker_began_anew_counts_as_full_too(queue: Queue) -> None:
    limits = quota(requests=10)
    queue.accept(*[1] * 12)
    queue.take(limits, most=9)
    queue.client.delete(*(limit.key for limit in limits.limits))
    queue.clock.advance_ms(100)
    assert len(queue.new_taker("other").take("q", quota(requests=10), 1).taken) == 1
    queue.clock.advance_ms(100)
    assert queue.take(limits).taken == ()


def test_a_grant_tells_the_servers_time_of_later_moments(queue: Queue) -> None:
    queue.accept(1)
    grant = queue.take(quota()).grant
    assert grant.granted_ms == queue.clock.now_ms
    assert grant.server_ms(grant.asked_s + 0.25) == grant.granted_ms + 250
    assert grant.server_ms(grant.asked_s - 1) == grant.granted_ms


def test_a_server_that_is_away_is_no_reason_to_break(caplog: pytest.LogCaptureFixture) -> None:
    Holds(connect("unix:///nowhere/at/all.sock")).set(SCOPES.failing, KeyState.COOLING, "busy", 100)
    assert "the state cooling could not be shared" in caplog.text
