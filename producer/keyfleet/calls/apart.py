"""Runs a coroutine for a caller that has no event loop to give, or has one that it must not hold up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["run_apart"]

T = TypeVar("T")


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it to its end on an event loop of its own, in a thread of its own: the caller's thread may have a loop.

    A KeyboardInterrupt, or whatever else wakes the caller, cancels it and goes on to the caller at once.
    """
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = Future()
    ended: Future[T] = Future()

    async def whole() -> T:
        task = asyncio.ensure_future(coroutine)
        started.set_result((asyncio.get_running_loop(), task))
        return await task

    def run() -> None:
        try:
            ended.set_result(asyncio.run(whole()))
        except BaseException as error:  # goes to the caller, whatever it is
            ended.set_exception(error)

    thread = threading.Thread(target=run, name="keyfleet-list", daemon=True)
    try:
        thread.start()
        return ended.result()
    except BaseException as error:
        if (
            isinstance(error, RuntimeError) and thread.ident is None
        ):  # no thread can be had, as at the interpreter's end
            coroutine.close()
        elif not ended.done():
            loop, task = started.result()
            loop.call_soon_threadsafe(task.cancel)
        raise
