"""How a worker process ends: in order, within a deadline, or at once when it is told again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from celery.worker import state as celery_state

__all__ = ["Leaver"]

AT_ONCE_S = 1.5
"""How long a worker that ends at once may take for what is there already (s)."""


class Stoppable(Protocol):
    """What ends when a worker leaves; True if nothing is left over."""

    def stop(self, deadline_s: float) -> bool: ...


class Leaver:
    """Ends the process by a deadline of its own, where Celery's threads pool would wait for every thread.

    A call that is still under way then is not handed back: its lease runs out first, so that nobody sends it while
    the provider may still be at it.
    """

    def __init__(self, deadline_s: float, *, end: Callable[[int], object] = os._exit) -> None:
        self._deadline_s = deadline_s
        self._end = end
        self._runtime: Stoppable | None = None
        self._begun = threading.Lock()  # taken once, without waiting: a signal's handler may interrupt another's
        self._signals = 0
        self.code = 0

    def leave_with(self, runtime: Stoppable) -> None:
        """From now on `runtime` is to be stopped before the process ends."""
        self._runtime = runtime

    def leave(self, code: int = 0) -> None:
        """Begin to end in order, the exit code being `code`, or 1 where something is left over. Again: no effect."""
        if not self._begun.acquire(blocking=False):
            return
        self.code = code
        celery_state.should_stop = 0  # Celery's own end in order puts the tickets back that it holds
        self._finish_in_thread(self._deadline_s)

    def leave_at_once(self) -> None:
        """End now; only outcomes that are there already are delivered, if that takes less than a second."""
        self._finish_in_thread(0.0)
        hard = threading.Timer(AT_ONCE_S, self._end, (self.code or 1,))  # a broker that hangs doesn't hold it up
        hard.daemon = True
        hard.start()

    def stop(self) -> bool:
        """Leave, and return once the runtime has stopped: for Celery, which must not end before it."""
        self.leave()
        return self._runtime is None or self._runtime.stop(self._deadline_s)

    def _finish_in_thread(self, deadline_s: float) -> None:
        threading.Thread(target=self._finish, args=(deadline_s,), name="keyfleet-leave", daemon=True).start()

    def _finish(self, deadline_s: float) -> None:
        is_all_done = self._runtime is None or self._runtime.stop(deadline_s)
        self._end(self.code or int(not is_all_done))

    def handle_signals(self, *, is_supervised: bool) -> None:
        """Take the signals from Celery, whose second SIGTERM means nothing.

        Under a supervisor SIGTERM means the same however often it comes, since service managers and terminals signal
        every process of a group: the supervisor counts, and says SIGQUIT for the second.
        """
        signal.signal(signal.SIGTERM, self._on_supervised if is_supervised else self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN if is_supervised else self._on_signal)
        signal.signal(signal.SIGQUIT, self._on_quit)
        if is_supervised:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _on_supervised(self, number: int, frame: FrameType | None) -> None:
        self.leave()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals == 1:
            self.leave()
        else:
            self.leave_at_once()

    def _on_quit(self, number: int, frame: FrameType | None) -> None:
        self.leave_at_once()
