"""Ending a run before its work is done, in order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import redis

from keyfleet.ledger import JobLedger, Withdrawn
from keyfleet.running.snapshot import End
from keyfleet.running.window import Window

__all__ = ["Ending"]

logger = logging.getLogger(__name__)

LOOK_S = 0.25
"""Interval of looking what is still under way, and of taking back what came back unsent or failed (s)."""

WITHDRAW_AT_ONCE = 500
"""Requests taken back in one round trip."""

MOST_FAILURES = 5
"""Looks in a row at which the broker may be away; after that, what is there is left to the next run."""


class Ending:
    """Feeds no more, takes back what no worker holds (it is fed again on resume), and waits for calls under way.

    It works in a thread of its own, so that whoever waits for it can still end at once.
    """

    def __init__(
        self,
        end: End,
        ledger: JobLedger,
        window: Window,
        *,
        stop_feeding: Callable[[], None],
        is_written: Callable[[], bool],
        are_workers_gone: Callable[[], bool],
        is_patient: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_written` tells whether no row waits to be written; `are_workers_gone`: then no call will end any more.
        `is_patient`: a broker that stays away is waited for, however long."""
        self.end = end
        self._ledger = ledger
        self._window = window
        self._stop_feeding = stop_feeding
        self._is_written = is_written
        self._are_workers_gone = are_workers_gone
        self._is_patient = is_patient
        self._failures = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keyfleet-ending", daemon=True)

    def start(self) -> None:
        """Begin to end."""
        try:
            self._thread.start()
        except RuntimeError:  # an interpreter that ends starts no thread any more: whoever waits has to wait here
            self._run()

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self._over.is_set()

    @property
    def is_settled(self) -> bool:
        """Whether nothing is under way any more, and everything that came is written."""
        return not len(self._window) and self._is_written()

    def _run(self) -> None:
        try:
            self._stop_feeding()
            while not self.look():
                self._over.wait(LOOK_S)
        finally:
            self._over.set()

    def look(self) -> bool:
        """Take back what can be, and tell whether the run can end now."""
        try:
            self._withdraw()
        except redis.RedisError as error:
            self._failures += 1
            if self._failures >= MOST_FAILURES and not self._is_patient():
                logger.warning(
                    "the broker doesn't answer (%s); what waits there stays until the run is resumed",
                    type(error).__name__,
                )
                return True
        else:
            self._failures = 0
        return self.is_settled or self._are_workers_gone()

    def _withdraw(self) -> None:
        gone: list[str] = []
        for queue, ids in self._window.by_queue().items():
            for start in range(0, len(ids), WITHDRAW_AT_ONCE):
                part = ids[start : start + WITHDRAW_AT_ONCE]
                for request_id, found in zip(part, self._ledger.withdraw(queue, part), strict=True):
                    if found is Withdrawn.WITHDRAWN:
                        self._window.remove(request_id)
                    elif found is Withdrawn.GONE:
                        gone.append(request_id)
        self._forget(gone)

    def _forget(self, gone: list[str]) -> None:
        """What is not in the ledger has its outcome, or was withdrawn by another hand (`keyfleet jobs cancel`).

        An outcome is in the stream since the very step in which its request went, and room is freed before the stream
        is trimmed. So whatever is still counted once the stream is empty has no outcome and will get none.
        """
        if gone and not self._ledger.has_outcomes():
            for request_id in gone:
                self._window.remove(request_id)
