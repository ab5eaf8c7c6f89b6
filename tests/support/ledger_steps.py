"""Which step of a request's life is on its way to the broker, told by what passes on the wire.

Scripts go by the keys that only they are given, so that their text may change.
"""

from __future__ import annotations

from support.forwarder import Piece

__all__ = ["is_accept", "is_accepted", "is_collected", "is_finish", "is_finished", "is_taken", "is_trim"]

BODY = b"/v1/chat/completions"
"""What every record of a request in these tests holds."""


def is_accept(piece: Piece) -> bool:
    """New requests on their way into the ledger."""
    return not piece.back and _is_accept(piece.asked)


def is_accepted(piece: Piece) -> bool:
    """The answer to that."""
    return piece.back and _is_accept(piece.asked) and not _is_unknown(piece)


def is_taken(piece: Piece) -> bool:
    """Requests that a worker took on their way to it: leased and their quota reserved, and the worker doesn't know."""
    return piece.back and b":capacity" in piece.asked and BODY in piece.data


def is_finish(piece: Piece) -> bool:
    """Outcomes on their way from a worker into the job's stream."""
    return not piece.back and _is_finish(piece.asked)


def is_finished(piece: Piece) -> bool:
    """The answer to that: the outcomes are written."""
    return piece.back and _is_finish(piece.asked) and not _is_unknown(piece)


def is_collected(piece: Piece) -> bool:
    """Outcomes on their way to the producer."""
    return piece.back and b"XREAD" in piece.asked and BODY in piece.data


def is_trim(piece: Piece) -> bool:
    """A producer that lets go of outcomes, which are on its disk."""
    return not piece.back and b"XTRIM" in piece.data


def _is_accept(asked: bytes) -> bool:
    return b"EVALSHA" in asked and b":sequence" in asked and BODY in asked


def _is_finish(asked: bytes) -> bool:
    return b"EVALSHA" in asked and b":outcomes" in asked


def _is_unknown(piece: Piece) -> bool:
    """A script that the server has to be told first."""
    return b"NOSCRIPT" in piece.data
