"""One reading of the fleet for all who look at it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor

__all__ = ["SharedPicture"]

MAX_AGE_S = 1.0
"""So old a picture is shown to others who ask; workers speak as often (s)."""


class SharedPicture:
    """Reads at most once a second, one at a time, off the event loop, whoever asks. For one event loop."""

    def __init__(
        self, read: Callable[[], bytes], executor: Executor, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._executor = executor
        self._clock = clock
        self._picture = b""
        self._read_s: float | None = None
        self._reading: asyncio.Future[bytes] | None = None

    async def get(self) -> bytes:
        """The picture, at most a second old. Raises what reading it raises."""
        if self._read_s is not None and self._clock() - self._read_s < MAX_AGE_S:
            return self._picture
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._look())
        return await asyncio.shield(self._reading)

    def forget(self) -> None:
        """Something was changed: whoever asks from now on sees it."""
        self._read_s = None
        self._reading = None

    async def _look(self) -> bytes:
        this = asyncio.current_task()
        began_s = self._clock()
        try:
            picture = await asyncio.get_running_loop().run_in_executor(self._executor, self._read)
        finally:
            is_newest = self._reading is this
            if is_newest:
                self._reading = None
        if is_newest:
            self._picture, self._read_s = picture, began_s
        return picture
