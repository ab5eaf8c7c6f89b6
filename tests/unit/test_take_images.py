"""Taking requests that make images: limits of images hold beside the others, and bind nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from keyfleet.contract import AttemptError, Cost, Request
from keyfleet.ledger import Retry, Taken, Transitions
from keyfleet.redis_keys import QueueKeys
from keyfleet_workers.dispatch import taker as taker_module
from keyfleet_workers.dispatch.taker import HOPELESS_GRACE_MS
from keyfleet_workers.limiter import QuotaLimit
from keyfleet_workers.quota_pools import Quota
from support.take_case import LEASE_MS, TakeCase, calls, ids

if TYPE_CHECKING:
    from support.stand_in import StandIn

KEYS = QueueKeys("f", "q")
UNLIMITED = Quota("none", ())


class ImageQueue(TakeCase):
    """A queue with requests that cost 10 tokens each, and images."""

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__(stand_in)
        self.transitions = Transitions(self.client, "f", lease_ms=LEASE_MS, declare_flags=False)

    def accept_images(self, *images: int, urgent: bool = False, pack: str = "") -> None:
        new = [
            Request(str(self.accepted + n), "/v1/x", "m", b"{}", 10, urgent=urgent, pack=pack, cost_images=count)
            for n, count in enumerate(images)
        ]
        self.accepted += len(images)
        assert all(self.job.accept("q", new))

    def places(self) -> list[bytes]:
        client: Any = self.client
        return [place for _, place in sorted(client.hgetall(KEYS.places).items())]

    def charged(self, of: Quota) -> list[int]:
        """What stands in each window."""
        client: Any = self.client
        return [int(client.hget(limit.key, "total") or 0) for limit in of.limits]


def quota(images: int = 5, *, requests: int = 100, tokens: int = 1000, name: str = "images") -> Quota:
    amounts = {"requests": requests, "tokens": tokens, "images": images}
    return Quota(name, tuple(QuotaLimit(f"{name}:{unit}", unit, amounts[unit], 1000, 0) for unit in amounts))  # type: ignore[arg-type]


@pytest.fixture
def queue(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> ImageQueue:
    monkeypatch.setattr(taker_module, "elapsed_s", stand_in.clock.time)
    return ImageQueue(stand_in)


def images_of(taken: tuple[Taken, ...]) -> list[int]:
    return [one.cost_images for one in taken]


def test_the_longest_run_whose_images_fit_is_taken_and_the_limit_of_images_is_what_it_waits_for(
    queue: ImageQueue,
) -> None:
    queue.accept_images(2, 2, 2, 1)
    limits = quota()
    result = queue.take(limits)
    assert (ids(result), images_of(result.taken)) == (["0", "1"], [2, 2])
    assert result.limit is not None
    assert (result.wait_ms, result.limit.describe()) == (1001, "5 images per 1 s")
    assert queue.charged(limits) == [2, 20, 4]
    assert result.grant.left == (98, 980, 1)
    queue.clock.advance_ms(1001)
    assert ids(queue.take(limits)) == ["2", "3"]


def test_what_makes_no_image_goes_on_while_the_limit_of_images_is_used_up(queue: ImageQueue) -> None:
    queue.accept_images(100, urgent=True)
    limits = quota(100)
    assert ids(queue.take(limits)) == ["0"]  # which also leaves others a part less of every limit
    queue.accept(10, 10)
    assert ids(queue.take(limits)) == ["1", "2"]


def test_more_images_than_a_limit_ever_allows_are_passed_over_for_a_key_that_allows_them(queue: ImageQueue) -> None:
    queue.accept_images(6, 1)
    assert ids(queue.take(quota())) == ["1"]
    assert ids(queue.take(quota(6, name="larger"))) == ["0"]


@pytest.mark.parametrize(
    ("capacity", "given_up"),
    [
        ("1000", False),  # of a key without limits of images, or a worker from before there were any
        ("1000/6", False),
        ("1000/5", True),
        ("9/6", True),
        ("nonsense", True),
    ],
)
def test_images_that_no_living_key_allows_are_given_up_after_a_grace(
    queue: ImageQueue, capacity: str, given_up: bool
) -> None:
    queue.accept_images(6)
    queue.client.hset(KEYS.capacity, "other", f"{capacity} {queue.clock.now_ms + HOPELESS_GRACE_MS}")
    queue.clock.advance_ms(HOPELESS_GRACE_MS)
    assert images_of(queue.take(quota()).impossible) == ([6] if given_up else [])


def test_the_images_of_requests_that_share_a_call_add_up(queue: ImageQueue) -> None:
    queue.accept_images(2, 2, 2, pack="a:9")
    limits = quota()
    result = queue.take(limits)
    assert (calls(result), [pack.cost for pack in result.packs]) == ([["0", "1"]], [Cost(20, 4)])
    assert queue.charged(limits) == [1, 20, 4]


def test_a_place_tells_of_images_only_where_there_are_some(queue: ImageQueue) -> None:
    queue.accept_images(0, 3)
    now_ms = queue.clock.now_ms
    assert queue.places() == [f"0 1 10 {now_ms} 0 -".encode(), f"0 2 10 {now_ms} 0 - 3".encode()]


def test_a_place_that_was_written_before_images_were_counted_is_read(queue: ImageQueue) -> None:
    queue.accept_images(3)
    queue.client.hset(KEYS.places, "job:0", f"0 1 10 {queue.clock.now_ms} 0 a:9")
    (taken,) = queue.take(quota()).taken
    assert (taken.cost, taken.pack) == (Cost(10, 0), "a:9")


@pytest.mark.parametrize("images", ["-1", "x", "9" * 400])
def test_a_place_with_odd_images_is_malformed(queue: ImageQueue, images: str) -> None:
    queue.accept_images(3)
    queue.client.hset(KEYS.places, "job:0", f"0 1 10 {queue.clock.now_ms} 0 - {images}")
    result = queue.take(quota())
    assert (result.taken, [row[0] for row in result.malformed]) == ((), ["job:0"])


def test_whatever_becomes_of_a_request_its_images_stay(queue: ImageQueue) -> None:
    queue.accept_images(3, 3, 3)
    queue.transitions.tick("w")
    handed_back, retried, lost = queue.take(UNLIMITED).taken
    queue.transitions.hand_back("q", [(handed_back.key, handed_back.token)], packs=["b:2"])
    error = AttemptError(503, "http_503", "busy")
    queue.transitions.retry("q", [Retry(retried.key, retried.token, 500, (error,), "b:2")])
    for _ in range(13):
        queue.clock.advance_ms(2500)
        beat = queue.transitions.tick("w")
    assert queue.transitions.reap("q", beat).expired == 1
    found = queue.take(UNLIMITED).taken
    assert {one.key: one.cost for one in found} == dict.fromkeys([handed_back.key, retried.key, lost.key], Cost(10, 3))


def test_a_provider_that_counts_otherwise_changes_what_a_request_costs_from_then_on(queue: ImageQueue) -> None:
    queue.accept_images(3, 3)
    pairs = [(one.key, one.token) for one in queue.take(UNLIMITED).taken]
    queue.transitions.hand_back("q", pairs, costs=[Cost(10, 7), None])
    assert images_of(queue.take(UNLIMITED).taken) == [7, 3]


def test_images_in_flight_are_made_good_in_a_ledger_that_has_lost_them(queue: ImageQueue) -> None:
    queue.accept_images(3)
    (taken,) = queue.take(UNLIMITED).taken
    queue.client.flushall()
    assert queue.transitions.hold_again("q", [taken]) == [True]
    queue.transitions.hand_back("q", [(taken.key, taken.token)])
    assert [one.cost for one in queue.take(UNLIMITED).taken] == [Cost(10, 3)]
