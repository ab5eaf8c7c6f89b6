"""A chunk whose requests share calls: slots and charges go by calls, tickets and counts by requests."""

from __future__ import annotations

import pytest

from keyfleet_workers.dispatch import chunk as chunk_module
from keyfleet_workers.dispatch import taking as taking_module
from keyfleet_workers.dispatch.taker import MOST_REQUESTS
from support.chunk_case import LIMIT, ChunkCase, take_result


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> ChunkCase:
    monkeypatch.setattr(chunk_module, "PARKED_S", 0.0)
    monkeypatch.setattr(taking_module, "BRIEF_S", 0.0)
    return ChunkCase()


def test_of_shared_calls_the_requests_are_told(case: ChunkCase) -> None:
    case.takes = [take_result([(1, 2, 3), 4])]
    assert case.serve() == "4 succeeded"
    assert sorted(case.called) == ["job:1", "job:2", "job:3", "job:4"]


def test_slots_that_shared_calls_leave_free_are_given_back(case: ChunkCase) -> None:
    case.hold_calls.clear()
    case.takes = [take_result([(1, 2, 3), (4, 5)], left=9, wait_ms=10, limit=LIMIT), take_result([6])]
    used: list[int] = []

    def note() -> None:
        used.append(case.slots.used)
        if len(used) == 2:
            case.hold_calls.set()

    case.on_take = note
    assert case.serve(8) == "6 succeeded"
    assert used == [8, 8], "all were free again but those of the two calls, and asked for anew"
    assert case.asked == [8, 6]


def test_a_ticket_is_used_up_by_the_requests_of_a_shared_call(case: ChunkCase) -> None:
    case.takes = [take_result([(1, 2, 3)], left=50)]
    assert case.serve(2) == "3 succeeded"
    assert (case.put_back, len(case.asked)) == ([], 1)


def test_the_call_that_shows_how_a_provider_fares_carries_one_request(case: ChunkCase) -> None:
    case.cautious = [True, False]
    case.takes = [take_result([1], left=9), [2]]
    case.serve(10)
    assert case.asked_inputs == [1, MOST_REQUESTS]


def test_the_grant_of_a_shared_call_is_remembered_once(case: ChunkCase) -> None:
    case.takes = [take_result([(1, 2, 3)])]
    case.serve()
    assert [(one.settlement.granted_ms, one.settlement.deltas) for one in case.noted] == [(5000, (1,))]


def test_requests_of_a_shared_call_that_the_closing_pool_refuses_are_given_back(case: ChunkCase) -> None:
    case.takes = [take_result([(1, 2), 3])]
    case.executor.shutdown()
    assert case.serve() == "3 went back (3 handed back)"
    assert case.given_back == ["job:1", "job:2", "job:3"]
