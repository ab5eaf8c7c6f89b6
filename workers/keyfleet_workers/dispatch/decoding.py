"""Reading what a take brought, so that one bad entry stops neither its chunk nor its neighbours."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from keyfleet.contract import AttemptError, Cost, Outcome
from keyfleet.errors import MalformedEntry
from keyfleet.ledger import Taken
from keyfleet.ledger.codec import decode_record
from keyfleet_workers.dispatch.packs import Pack

__all__ = ["MALFORMED_ENTRY", "MalformedRow", "decode_packs", "decode_rows", "malformed_outcome"]

MALFORMED_ENTRY = "malformed_entry"
"""Code of the final error of a request that can't be read."""

MalformedRow = tuple[str, str, str]
"""(request, fencing token, what is wrong) of a leased request that can't be read."""

ROW_FIELDS = 9


def decode_packs(rows: Sequence[Any]) -> tuple[tuple[Pack, ...], tuple[MalformedRow, ...]]:
    """What `take.lua` leased: request, token, cost_tokens (-1: its place can't be read), cost_images, record, attempts,
    pack, the number of its call and accepted_ms, by turns; the requests of one call together.

    A name that is no text keeps its bytes as surrogates, which `Transitions` turns back.
    """
    calls: dict[int, list[Taken]] = {}
    malformed: list[MalformedRow] = []
    for at in range(0, len(rows), ROW_FIELDS):
        name, token, cost_tokens, cost_images, record, attempts, pack, call, accepted_ms = rows[at : at + ROW_FIELDS]
        key, lease = (text.decode(errors="surrogateescape") for text in (name, token))
        try:
            cost = Cost(int(cost_tokens), int(cost_images))
            taken = decode_record(key, lease, cost, record, attempts, pack, int(accepted_ms))
        except MalformedEntry as error:
            malformed.append((key, lease, str(error)))
        else:
            calls.setdefault(call, []).append(taken)
    return tuple(Pack(tuple(members)) for members in calls.values()), tuple(malformed)


def decode_rows(rows: Sequence[Any]) -> tuple[tuple[Taken, ...], tuple[MalformedRow, ...]]:
    """The same of requests that are not to be called."""
    packs, malformed = decode_packs(rows)
    return tuple(taken for pack in packs for taken in pack.members), malformed


def malformed_outcome(row: MalformedRow) -> Outcome:
    """The final error of a request that can't be read. Nothing of it was sent."""
    key, _, reason = row
    message = f"the request in the broker can't be read: {reason}"
    error = AttemptError(None, MALFORMED_ENTRY, message, at_s=time.time())
    return Outcome(id=key, ok=False, status=None, body=None, attempts=0, errors=(error,), finished_s=time.time())
