"""Outcomes that can't be read: what becomes of their lines."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from keyfleet.contract import Outcome
from keyfleet.ledger import JobLedger
from keyfleet.ledger.codec import MALFORMED_OUTCOME

__all__ = ["Sieve"]

logger = logging.getLogger(__name__)

MOST_DIGITS = 15
"""Longest line number that is one."""


class Sieve:
    """Keeps back outcomes that end no line, counts them and says so. `count` is of all that could not be read."""

    def __init__(self, ledger: JobLedger) -> None:
        self._ledger = ledger
        self.count = 0
        self.has_lost_a_name = False
        """Whether some line's outcome may be gone without a trace, so that it has to be looked for."""

    def keep(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Those that end a line. One that can't be read does so only where the ledger has let go of its request:
        else another is still to come. Raises redis.RedisError."""
        before = self.count
        kept = [outcome for outcome in outcomes if self._ends_a_line(outcome)]
        if self.count > before:
            logger.warning("%d outcomes in the broker can't be read (%d so far)", self.count - before, self.count)
        return kept

    def _ends_a_line(self, outcome: Outcome) -> bool:
        is_named = _is_line_number(outcome.id)
        is_readable = not (outcome.errors and outcome.errors[-1].code == MALFORMED_OUTCOME)
        if is_named and is_readable:
            return True
        self.count += 1
        if not is_named:
            self.has_lost_a_name = True
            return False
        return not self._ledger.holds(outcome.id)


def _is_line_number(text: str) -> bool:
    is_decimal = text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS
    return is_decimal and text == str(int(text))
