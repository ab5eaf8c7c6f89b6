"""A coroutine runs apart from its caller's thread, and ends with its caller."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from keyfleet.calls.apart import run_apart
from keyfleet.errors import DeadlineExceeded


def test_a_coroutine_runs_apart_from_the_callers_own_loop() -> None:
    async def named() -> str:
        return threading.current_thread().name

    async def caller() -> str:
        return run_apart(named())

    assert asyncio.run(caller()) == "keyfleet-list"


@pytest.fixture
def hears_interrupts() -> Iterator[None]:
    """Also where whoever started the tests ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_interrupts")
def test_an_interrupt_reaches_the_caller_at_once_and_ends_what_runs_apart() -> None:
    ended = threading.Event()

    async def wait_for_ever() -> None:
        os.kill(os.getpid(), signal.SIGINT)  # to the process, as a terminal does: its main thread is woken
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_apart(wait_for_ever())
    assert ended.wait(10)


def test_an_error_apart_reaches_the_caller() -> None:
    async def fail() -> None:
        raise DeadlineExceeded("too late")

    with pytest.raises(DeadlineExceeded, match="too late"):
        run_apart(fail())


def test_where_no_thread_can_be_had_the_caller_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def never() -> None:
        raise AssertionError("it must not run")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        run_apart(never())
