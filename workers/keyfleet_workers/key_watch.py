"""Follows the holds of a worker's key: probes what was set aside, and tells when the key can be used again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import redis

from keyfleet_workers.holds import SET_ASIDE, Hold, Holds, KeyScopes, KeyState
from keyfleet_workers.probing import lifts
from keyfleet_workers.provider import Verdict

__all__ = ["KeyWatch"]

logger = logging.getLogger(__name__)

PROBE_FIRST_S = 15.0
"""Interval of probing a key that was set aside just now (s)."""

PROBE_LONGEST_S = 600.0
"""Interval of probing one that was set aside long ago (s)."""

PROBE_SHARE = 0.25
"""In between, the interval is this share of the time since which the key is set aside."""

_PROBED = frozenset({KeyState.OUT_OF_CREDIT, KeyState.REVOKED})


class KeyWatch:
    """Looks at the key's holds at each beat. A probe runs in a thread of its own, one at a time."""

    def __init__(
        self,
        holds: Holds,
        scopes: KeyScopes,
        ask: Callable[[Hold, bool], Verdict | None],
        *,
        on_free: Callable[[], None],
        on_set_aside: Callable[[], None] | None = None,
        probe_first_s: float = PROBE_FIRST_S,
    ) -> None:
        """`ask` probes for what a hold says, and is told whether a probe was wrong about it before; None: not now.
        `on_free` is told when the last hold has gone, `on_set_aside` when the key is set aside, unless the worker stays
        with it (None)."""
        self._holds = holds
        self.scopes = scopes
        self._ask = ask
        self._on_free = on_free
        self._on_set_aside = on_set_aside
        self._probe_first_s = probe_first_s
        self._probe: threading.Thread | None = None
        self._has_probed_at_start = False
        self.present: Hold | None = None
        self.leaves = False
        """Whether the worker has been told to leave its key."""

    @property
    def state(self) -> tuple[KeyState, bool]:
        """The key's state, and whether the worker leaves it."""
        return KeyState.READY if self.present is None else self.present.state, self.leaves

    def look(self, now_ms: int) -> None:
        """Follow the holds; `now_ms` is the server's time. Raises redis.RedisError."""
        standing = self._holds.read(self.scopes.all())
        before, self.present = self.present, _gravest(standing)
        if before is not None and self.present is None:
            logger.warning("the key works again (it was %s)", before.describe())
            self._on_free()
        if self.present is not None and self.present.state in SET_ASIDE:
            self._look_after(self.present, now_ms)
        else:
            self.leaves = False
        self._has_probed_at_start = True

    def _look_after(self, hold: Hold, now_ms: int) -> None:
        is_probing = self._probe is not None and self._probe.is_alive()
        if hold.state in _PROBED and not is_probing and self._is_due(hold, now_ms):
            self._probe = threading.Thread(target=self._run_probe, args=(hold,), name="keyfleet-probe", daemon=True)
            self._probe.start()
        elif self._on_set_aside is not None and not is_probing:
            if self.leaves:
                self._on_set_aside()
            self.leaves = True  # first it is told, since the end may come at once

    def _is_due(self, hold: Hold, now_ms: int) -> bool:
        """Whoever starts with a key that was set aside asks once, whenever it was asked last."""
        interval_s = min(PROBE_LONGEST_S, max(self._probe_first_s, PROBE_SHARE * (now_ms - hold.since_ms) / 1000))
        is_turn = self._holds.claim_probe(hold.scope, round(interval_s * 1000))
        return is_turn or not self._has_probed_at_start

    def _run_probe(self, hold: Hold) -> None:
        try:
            verdict = self._ask(hold, self._holds.has_relapsed(hold.scope))
            if verdict is None or not lifts(hold.state, verdict):
                logger.info("the key is still %s", hold.describe())
                return
            self._holds.lift_after_probe(hold)
        except redis.RedisError as error:
            logger.info("the key could not be probed (%s)", type(error).__name__)
        except Exception as error:
            logger.error("probing the key failed (%s)", type(error).__name__)


def _gravest(standing: list[Hold]) -> Hold | None:
    """The hold that says most: one without an end before one with an end, then the longest."""
    return max(standing, key=lambda hold: float("inf") if hold.rest_ms is None else hold.rest_ms, default=None)
