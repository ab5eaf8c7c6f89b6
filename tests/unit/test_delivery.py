"""Results on their way into Redis: kept while it is away, and delivered again when it may have lost them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.broker import ServerWatch
from keyfleet.contract import AttemptError, Outcome, Request
from keyfleet.ledger import Finish, JobLedger, JobOptions, Retry, Taken, Transitions
from keyfleet_workers.dispatch import delivery as delivery_module
from keyfleet_workers.dispatch.delivery import Delivery, HandBack, Settle
from keyfleet_workers.dispatch.taker import Taker
from keyfleet_workers.holds import KeyScopes
from keyfleet_workers.limiter import ExactRedisStorage, QuotaLimit, Settlement
from keyfleet_workers.quota_pools import Quota

if TYPE_CHECKING:
    from support.stand_in import StandIn

PATIENCE_S = 30.0
ERROR = AttemptError(500, "http_500", "made up")
QUOTA = Quota("quota", (QuotaLimit("quota:requests", "requests", 10, 60_000, 0),))


class Watch(ServerWatch):
    """A watch that a test sets off."""

    is_changed = False

    @property
    def changed(self) -> bool:
        return self.is_changed

    def dealt_with(self) -> None:
        self.is_changed = False


class Place:
    """A ledger with one job, and the delivery of its one worker."""

    def __init__(self, stand_in: StandIn) -> None:
        self.client: redis.Redis = stand_in.client()
        self.job = JobLedger(self.client, "f", "job", JobOptions(), declare_flags=False)
        self.job.open()
        self.transitions = Transitions(self.client, "f", lease_ms=30_000, declare_flags=False)
        scopes = KeyScopes("fingerprint", None, "host")
        self.taker = Taker(
            *(self.client, "f"),
            worker_id="w",
            key_name="one",
            scopes=scopes,
            lease_ms=30_000,
            declare_flags=False,
        )
        self.storage = ExactRedisStorage(
            "keyfleet+redis://stand-in", connection_pool=self.client.connection_pool, declare_flags=False
        )
        self.watch = Watch()
        self.returned: list[tuple[str, int]] = []
        self.delivery = Delivery(
            self.client,
            self.transitions,
            self.storage,
            self.watch,
            on_ready_again=lambda queue, count: self.returned.append((queue, count)),
        )
        self.delivery.start()

    def take(self, count: int) -> tuple[Taken, ...]:
        self.job.accept("q", [Request(str(number), "/v1/x", "m", b"{}", 1) for number in range(count)])
        return self.taker.take("q", QUOTA, count).taken

    def deliver(self) -> None:
        assert self.delivery.wait_until_idle(PATIENCE_S)

    def outcomes(self) -> list[str]:
        return [outcome.id for _, outcome in self.job.outcomes("0", count=100)]


@pytest.fixture
def place(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(delivery_module, "AWAY_PAUSE_S", 0.001)
    place = Place(stand_in)
    yield place
    place.delivery.stop(PATIENCE_S)


def success(taken: Taken) -> Finish:
    return Finish(taken.key, "", Outcome(taken.key, True, 200, b"{}", 1))


def fail_once(monkeypatch: pytest.MonkeyPatch, on: Any, name: str, error: Exception) -> None:
    """Let the next call of `name` raise `error`."""
    real = getattr(on, name)

    def failing(*args: Any) -> Any:
        monkeypatch.setattr(on, name, real)
        raise error

    monkeypatch.setattr(on, name, failing)


def test_results_of_every_kind_arrive(place: Place) -> None:
    one, two, three = place.take(3)
    place.delivery.put("q", success(one), one.record)
    place.delivery.put("q", Retry(two.key, two.token, 60_000, (ERROR,)))
    place.delivery.put("q", HandBack(three.key, three.token))
    place.deliver()
    assert place.outcomes() == ["0"]
    assert place.job.depths("q") == {"ready": 1, "running": 0, "delayed": 1}
    assert place.returned == [("q", 1)]


def test_a_settlement_arrives(place: Place) -> None:
    granted_ms = place.storage.reserve(QUOTA.limits, [[1]]).now_ms
    place.delivery.put("", Settle(QUOTA.limits, Settlement(granted_ms, granted_ms, (1,), (3,))))
    place.deliver()
    assert place.storage.inspect(QUOTA.limits, [0])[0][0] == 4


def test_results_are_kept_while_the_server_is_away(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = place.take(1)
    fail_once(monkeypatch, place.transitions, "finish", redis.ConnectionError("away"))
    place.delivery.put("q", success(one), one.record)
    place.deliver()
    assert place.outcomes() == ["0"]


def test_what_can_not_be_written_holds_back_nothing_else(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    one, two = place.take(2)
    broken: Any = object()
    place.delivery.put("q", Retry(one.key, broken, 0, ()))
    place.delivery.put("q", success(two), two.record)
    place.deliver()
    assert place.outcomes() == ["1"]
    assert "a Retry can't be written (DataError)" in caplog.text


def test_what_the_server_refuses_is_kept_and_holds_back_nothing_else(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = place.take(3)
    fail_once(monkeypatch, place.transitions, "finish", redis.ResponseError("MISCONF"))
    place.delivery.put("q", success(one), one.record)
    place.delivery.put("q", HandBack(two.key, two.token))
    place.delivery.put("q", Retry(three.key, three.token, 60_000, (ERROR,)))
    place.deliver()
    assert place.outcomes() == ["0"]
    assert place.job.depths("q") == {"ready": 1, "running": 0, "delayed": 1}


def test_outcomes_that_a_restarted_server_lost_are_delivered_again(place: Place) -> None:
    one, two = place.take(2)
    place.delivery.put("q", success(one), one.record)
    place.deliver()
    place.client.delete(redis_keys.job_outcomes("f", "job"))
    place.watch.is_changed = True
    place.delivery.put("q", success(two), two.record)
    place.deliver()
    assert place.outcomes() == ["0", "1"]
    assert not place.watch.changed


def test_grants_that_a_restarted_server_lost_are_charged_again(place: Place) -> None:
    granted_ms = place.storage.reserve(QUOTA.limits, [[1], [1]]).now_ms
    place.storage.settle(QUOTA.limits, [Settlement(granted_ms, granted_ms, (1,), (-1,))])  # as if one was lost
    place.delivery.note_grant(Settle(QUOTA.limits, Settlement(granted_ms, granted_ms, (0,), (1,))))
    place.watch.is_changed = True
    place.delivery.put("q", HandBack("job:none", "t"))
    place.deliver()
    assert place.storage.inspect(QUOTA.limits, [0])[0][0] == 2


def test_stopping_delivers_what_is_there(place: Place) -> None:
    taken = place.take(5)
    for one in taken:
        place.delivery.put("q", success(one), one.record)
    assert place.delivery.stop(PATIENCE_S)
    assert sorted(place.outcomes()) == ["0", "1", "2", "3", "4"]
