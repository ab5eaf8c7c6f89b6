"""Asks a key's provider because somebody wants to know now, who has not the key's secret."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import redis

from keyfleet import redis_keys
from keyfleet_workers.holds import Holds, KeyScopes
from keyfleet_workers.probe_answers import conclude, in_words
from keyfleet_workers.provider import Verdict

__all__ = ["PROBE_WISH_MS", "AskedProbe"]

logger = logging.getLogger(__name__)

PROBE_WISH_MS = 30_000
"""So long a worker may take to hear that its key is to be probed (ms)."""


class AskedProbe:
    """Looked at by one thread; the probe itself runs in another, one at a time."""

    def __init__(
        self,
        client: redis.Redis,
        fleet: str,
        key_name: str,
        scopes: KeyScopes,
        ask: Callable[[], Verdict],
        *,
        declare_flags: bool = True,
    ) -> None:
        self._client = client
        self._wish = redis_keys.probe_wanted(fleet, key_name)
        self._holds = Holds(client, declare_flags=declare_flags)
        self._scopes = scopes
        self._ask = ask
        self._thread: threading.Thread | None = None
        self._words = ""
        self._ended_s: float | None = None

    def look(self) -> None:
        """Begin a probe if one is wanted. Raises redis.RedisError."""
        is_probing = self._thread is not None and self._thread.is_alive()
        if not is_probing and self._client.getdel(self._wish) is not None:
            self._thread = threading.Thread(target=self._run, name="keyfleet-asked-probe", daemon=True)
            self._thread.start()

    def said(self) -> dict[str, Any] | None:
        """What the last one brought, and how long ago; None where none was wanted."""
        if self._ended_s is None:
            return None
        return {"words": self._words, "ago_s": round(time.monotonic() - self._ended_s, 1)}

    def _run(self) -> None:
        try:
            verdict = self._ask()
            conclude(self._holds, self._scopes, verdict)
            self._words = in_words(verdict)
        except redis.RedisError as error:
            self._words = f"what came back could not be shared ({type(error).__name__})"
        except Exception as error:
            logger.error("probing the key failed (%s)", type(error).__name__)
            self._words = f"probing failed ({type(error).__name__})"
        self._ended_s = time.monotonic()
