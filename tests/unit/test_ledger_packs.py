"""What a request may share a call with, as the ledger keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keyfleet.contract import AttemptError, Cost
from keyfleet.ledger import Reaped, Retry, Transitions
from keyfleet_workers.quota_pools import Quota
from support.take_case import LEASE_MS, TakeCase, calls, ids

if TYPE_CHECKING:
    from support.stand_in import StandIn

BEAT_MS = 2500
UNLIMITED = Quota("none", ())
ERROR = AttemptError(503, "http_503", "busy", "key-1", 12.5)


class Ledger(TakeCase):
    """A queue and its transitions."""

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__(stand_in)
        self.transitions = Transitions(self.client, "f", lease_ms=LEASE_MS, declare_flags=False)

    def lose_the_worker(self) -> Reaped:
        """Its leases end while the reaper watches."""
        for _ in range(1 + LEASE_MS // BEAT_MS):
            self.clock.advance_ms(BEAT_MS)
            beat = self.transitions.tick("w")
        return self.transitions.reap("q", beat)

    def take_pairs(self) -> list[tuple[str, str]]:
        return [(one.key, one.token) for one in self.take(UNLIMITED).taken]


@pytest.fixture
def ledger(stand_in: StandIn) -> Ledger:
    return Ledger(stand_in)


def test_requests_that_go_back_with_a_smaller_pack_keep_their_places_and_share_less(ledger: Ledger) -> None:
    ledger.accept(*[1] * 5, pack="a:9")
    taken = ledger.take_pairs()
    ledger.transitions.hand_back("q", taken, packs=["a:2"] * 5)
    assert calls(ledger.take(UNLIMITED)) == [["0", "1"], ["2", "3"], ["4"]]


def test_a_request_that_goes_back_to_be_sent_alone_is(ledger: Ledger) -> None:
    ledger.accept(1, 1, 1, pack="a:9")
    taken = ledger.take_pairs()
    ledger.transitions.hand_back("q", taken, packs=[None, "", None])
    result = ledger.take(UNLIMITED)
    assert calls(result) == [["0", "2"], ["1"]]
    assert [one.pack for one in result.taken] == ["a:9", "a:9", ""]


def test_a_new_cost_leaves_the_pack_as_it_was_and_a_new_pack_the_cost(ledger: Ledger) -> None:
    ledger.accept(10, 20, pack="a:9")
    taken = ledger.take_pairs()
    ledger.transitions.hand_back("q", taken, costs=[Cost(15), None], packs=[None, "b:3"])
    found = [(one.cost_tokens, one.pack) for one in ledger.take(UNLIMITED).taken]
    assert found == [(15, "a:9"), (20, "b:3")]


def test_after_a_failed_attempt_a_request_comes_back_with_its_new_pack(ledger: Ledger) -> None:
    ledger.accept(1, 1, 1, pack="a:9")
    first, second, third = ledger.take_pairs()
    retries = [Retry(*first, 500, (ERROR,), "a:2"), Retry(*second, 500, (), ""), Retry(*third, 500, (ERROR,))]
    ledger.transitions.retry("q", retries)
    ledger.clock.advance_ms(500)
    ledger.transitions.reap("q", ledger.transitions.tick("w"))
    taken = ledger.take(UNLIMITED).taken
    assert [(one.pack, len(one.attempts)) for one in taken] == [("a:2", 1), ("", 0), ("a:9", 1)]


def test_whose_lease_has_passed_on_keeps_its_pack(ledger: Ledger) -> None:
    ledger.accept(1, 1, pack="a:9")
    (first, _), second = ledger.take_pairs()
    ledger.transitions.hand_back("q", [(first, "another"), second], packs=["", ""])
    assert ids(ledger.take(UNLIMITED)) == ["1"]
    ledger.transitions.hand_back("q", [(first, f"w:0:{first}")])
    assert [one.pack for one in ledger.take(UNLIMITED).taken] == ["a:9"]


def test_nobody_is_given_up_for_a_call_that_it_shared(ledger: Ledger) -> None:
    ledger.accept(*[1] * 4, pack="a:32")
    ledger.transitions.tick("w")
    assert calls(ledger.take(UNLIMITED)) == [["0", "1", "2", "3"]]
    ledger.lose_the_worker()
    assert calls(ledger.take(UNLIMITED)) == [["0", "1"], ["2", "3"]]
    ledger.lose_the_worker()
    assert calls(ledger.take(UNLIMITED, most=1)) == [["0"]]
    assert [key for key, _ in ledger.lose_the_worker().given_up] == ["job:0"]
    assert calls(ledger.take(UNLIMITED)) == [["1"], ["2"], ["3"]]
