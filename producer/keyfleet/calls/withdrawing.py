"""Takes back calls that nobody waits for any more, and those that nobody will ever start."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence

import redis

from keyfleet.calls.book import Call, CallBook
from keyfleet.ledger import JobLedger, Withdrawn
from keyfleet.ledger import Withdrawal as Which

__all__ = ["LOOK_S", "Withdrawal"]

logger = logging.getLogger(__name__)

LOOK_S = 0.25
"""Interval of looking at calls that workers hold (s): these are told each time that nobody waits for them."""


class Withdrawal:
    """`put` is for any thread, the rest for one."""

    def __init__(self, ledger: JobLedger, book: CallBook) -> None:
        self._ledger = ledger
        self._book = book
        self._new: deque[Call] = deque()
        self._held: list[Call] = []
        self._looked_s = float("-inf")

    def put(self, call: Call) -> None:
        """A call that is abandoned, or unserved."""
        self._new.append(call)

    @property
    def has_work(self) -> bool:
        """Whether some call is still to be taken back."""
        return bool(self._new or self._held)

    def look(self) -> None:
        """Take back what can be, if there is something new or it is time."""
        if not self._new and (not self._held or time.monotonic() - self._looked_s < LOOK_S):
            return
        self._looked_s = time.monotonic()
        held, self._held = self._held, []
        while self._new:
            held.append(self._new.popleft())
        calls = list(dict.fromkeys(held))
        groups: dict[tuple[str, Which], list[Call]] = {}
        for call in calls:
            groups.setdefault((call.queue, _which(call)), []).append(call)
        for (queue, which), group in groups.items():
            self._held += self._withdraw(queue, which, group)

    def _withdraw(self, queue: str, which: Which, calls: Sequence[Call]) -> list[Call]:
        """Take calls back, and return those that have to be looked at again."""
        try:
            found = self._ledger.withdraw(queue, [call.request.id for call in calls], which)
        except redis.RedisError as error:
            logger.info("calls can't be taken back now (%s)", type(error).__name__)
            return list(calls)
        return [call for call, state in zip(calls, found, strict=True) if self._conclude(call, state)]

    def _conclude(self, call: Call, state: Withdrawn) -> bool:
        """Returns whether the call has to be looked at again."""
        make_error, call.unserved = call.unserved, None
        if make_error is not None and not call.is_abandoned:
            if state in (Withdrawn.WITHDRAWN, Withdrawn.SPENT):
                call.fail(make_error())
                call.note_withdrawn(False)
                self._book.remove(call.request.id)
            return False  # a worker has it, or its outcome is on the way
        may_be_sent = state in (Withdrawn.HELD, Withdrawn.SPENT) or (state is Withdrawn.GONE and call.is_accepted)
        call.note_withdrawn(may_be_sent)
        if state is not Withdrawn.HELD:
            self._book.remove(call.request.id)
        return state is Withdrawn.HELD


def _which(call: Call) -> Which:
    if call.is_abandoned:
        return Which.GIVEN_UP
    return Which.UNPAID if call.is_late else Which.WAITING
