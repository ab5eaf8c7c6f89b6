"""Calls of event loops begin without holding their loops up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from keyfleet.calls import CallDesk
from keyfleet.calls.admission import QUICK_BYTES
from keyfleet.calls.book import Call
from keyfleet.calls.caller import Caller
from keyfleet.calls.desks import CallDesks
from keyfleet.calls.terms import CallTerms
from keyfleet.errors import FleetClosed, InvalidRequest
from support.desk_case import BODY, CHAT, DeskCase

if TYPE_CHECKING:
    from support.stand_in import StandIn

LONG_BODY = b'{"model": "m", "messages": [], "user": "%s"}' % (b"x" * QUICK_BYTES)
OTHER_MODEL = b'{"model": "other", "messages": []}'


class CallerCase(DeskCase):
    """Notes on which thread each call begins, and answers it."""

    def __init__(self, stand_in: StandIn, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(stand_in, directory)
        self.caller = Caller(lambda: cast(CallDesks, self))
        self.threads: list[threading.Thread] = []
        begin = self.desk.begin

        def noted_begin(*arguments: Any, **options: Any) -> Call:
            self.threads.append(threading.current_thread())
            call = begin(*arguments, **options)
            call.fail(TimeoutError("nobody answers here"))
            return call

        monkeypatch.setattr(self.desk, "begin", noted_begin)

    @contextmanager
    def of(self, name: str) -> Iterator[CallDesk]:
        """As desks of which there is one."""
        yield self.desk

    async def call(self, body: bytes, terms: CallTerms | None = None) -> bool:
        """Make a call; returns whether it was begun on the event loop's own thread."""
        with pytest.raises(TimeoutError):
            await self.caller.aoutcome(CHAT, body, terms or CallTerms())
        return self.threads[-1] is threading.current_thread()


@pytest.fixture
def case(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CallerCase]:
    case = CallerCase(stand_in, tmp_path, monkeypatch)
    yield case
    case.caller.close()
    case.desk.close()


def test_the_first_call_of_a_model_begins_on_another_thread_and_later_ones_at_once(case: CallerCase) -> None:
    async def calls() -> list[bool]:
        return [await case.call(body) for body in (BODY, BODY, OTHER_MODEL, OTHER_MODEL, BODY)]

    assert asyncio.run(calls()) == [False, True, False, True, True]


@pytest.mark.parametrize("body", [LONG_BODY, b'{"messages": [], "model": "other", "user": "m"}'])
def test_a_call_whose_tokens_may_take_long_to_count_begins_on_another_thread(case: CallerCase, body: bytes) -> None:
    async def calls() -> list[bool]:
        return [await case.call(body) for body in (BODY, body)]

    assert asyncio.run(calls()) == [False, False]


def test_a_call_of_a_named_job_begins_on_another_thread_since_the_job_may_have_to_be_opened(case: CallerCase) -> None:
    async def calls() -> list[bool]:
        return [await case.call(BODY), await case.call(BODY, CallTerms(job="named"))]

    assert asyncio.run(calls()) == [False, False]


def test_a_bad_call_is_refused_wherever_it_begins(case: CallerCase) -> None:
    async def calls() -> None:
        await case.call(BODY)
        with pytest.raises(InvalidRequest, match="stream"):
            await case.caller.aoutcome(CHAT, b'{"model": "m", "stream": 1}', CallTerms())
        assert case.threads[-1] is threading.current_thread()

    asyncio.run(calls())


def test_no_call_begins_at_once_once_the_fleet_is_closed(case: CallerCase) -> None:
    async def calls() -> None:
        await case.call(BODY)
        case.caller.close()
        with pytest.raises(FleetClosed):
            await case.caller.aoutcome(CHAT, BODY, CallTerms())

    asyncio.run(calls())
