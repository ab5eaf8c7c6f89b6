"""Which fault a request meets: by chance at the configured rates, or because its text asks for it.

A marker `[[sim:NAME]]` anywhere in the body always brings that fault, `[[sim:NAMEx2]]` only the first two times that
this very body arrives. With several markers each takes its turn: `[[sim:500x1]][[sim:resetx1]]` is a 500, then a
reset, then an answer. NAME is a status (`500`), a name of `NAMED_ERRORS` (`insufficient_quota`) or of a fault.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from typing import Literal

from keyfleet.sim.conduct import SimFaults
from keyfleet.sim.error_bodies import NAMED_ERRORS, ApiError, invalid_request

__all__ = ["Fault", "FaultChooser", "MidStream"]

Wire = Literal["spurious_429", "reset", "hang", "cut_off", "invalid_json"]
MidStream = Literal["break_off", "stream_error", "stall"]

_MARKER_START = b"[[sim:"
_MARKER = re.compile(rb"\[\[sim:([a-z_]+|[0-9]+)(?:x([0-9]+))?\]\]")


@dataclass(frozen=True, slots=True)
class Fault:
    """`wire` is a fault of the connection or the body, `error` an error answer; exactly one of them is set.

    `mid_stream` is what strikes in place of that in the middle of a stream, where the call is streamed.
    """

    name: str
    wire: Wire | None = None
    error: ApiError | None = None
    mid_stream: MidStream | None = None


_FAULTS: dict[str, Fault] = {
    "error_500": Fault("error_500", error=NAMED_ERRORS["500"]),
    "error_503": Fault("error_503", error=NAMED_ERRORS["503"]),
    "spurious_429": Fault("spurious_429", wire="spurious_429"),
    "reset": Fault("reset", wire="reset"),
    "hang": Fault("hang", wire="hang"),
    "cut_off": Fault("cut_off", wire="cut_off"),
    "invalid_json": Fault("invalid_json", wire="invalid_json"),
    "refuse_content": Fault("refuse_content", error=NAMED_ERRORS["content_policy"]),
    "break_off": Fault("break_off", wire="cut_off", mid_stream="break_off"),
    "stream_error": Fault("stream_error", error=NAMED_ERRORS["500"], mid_stream="stream_error"),
    "stall": Fault("stall", wire="hang", mid_stream="stall"),
}
_ASKED: dict[str, Fault] = {
    **{name: Fault(name, error=error) for name, error in NAMED_ERRORS.items()},
    **_FAULTS,
    "429": _FAULTS["spurious_429"],
}


class FaultChooser:
    """Deterministic for a seed and an order of arrival."""

    def __init__(self, faults: SimFaults, seed: int) -> None:
        rates = {name: rate for name, rate in faults.rates().items() if rate > 0}
        self._steps = list(zip(accumulate(rates.values()), (_FAULTS[name] for name in rates), strict=True))
        self._random = random.Random(seed)
        self._seen: Counter[tuple[bytes, bytes]] = Counter()

    def choose(self, body: bytes) -> Fault | None:
        """The fault for a request with this body, or None."""
        if _MARKER_START in body:
            return self._asked(body)
        if not self._steps:
            return None
        drawn = self._random.random()
        return next((fault for bound, fault in self._steps if drawn < bound), None)

    def _asked(self, body: bytes) -> Fault | None:
        markers = _MARKER.findall(body)
        digest = sha256(body).digest()
        for name, times in markers:
            fault = _ASKED.get(name.decode())
            if fault is None:
                return _unknown_marker()
            if not times:
                return fault
            if self._seen[digest, name] < int(times):
                self._seen[digest, name] += 1
                return fault
        return None if markers else _unknown_marker()


def _unknown_marker() -> Fault:
    """A misspelt marker must not pass for a request without one."""
    message = "Unknown marker [[sim:…]] in the request; expected one of " + ", ".join(sorted(_ASKED))
    return Fault("unknown_marker", error=invalid_request(message, code="unknown_sim_marker"))
