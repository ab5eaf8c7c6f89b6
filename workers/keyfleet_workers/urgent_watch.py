"""Hears of urgent requests at once, also of those whose queue this worker leaves alone for other work's sake."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

import redis

from keyfleet.redis_keys import QueueKeys

__all__ = ["UrgentWatch"]

logger = logging.getLogger(__name__)

LISTEN_S = 1.0
"""How long one look for notices waits (s)."""

GATHER_S = 0.01
"""Least time between two looks, so that many requests of a moment are one notice (s)."""

AWAY_S = 0.5
"""Pause where the broker doesn't answer (s)."""

_ANY = QueueKeys("", "*").ready_urgent.partition("*")[2]


class UrgentWatch:
    """A thread. A notice that is lost with the connection is made good when it stands again."""

    def __init__(
        self,
        client: redis.Redis,
        fleet: str,
        hurry: Callable[[str], None],
        waiting: Callable[[], Iterable[str]],
        stopping: threading.Event,
    ) -> None:
        """`hurry` is told of each queue that has urgent requests; `waiting` names those that are left alone now."""
        self._client = client
        self._pattern = QueueKeys(fleet, "*").ready_urgent
        self._hurry = hurry
        self._waiting = waiting
        self._stopping = stopping

    def start(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._run, name="keyfleet-urgent", daemon=True).start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as notices:  # type: ignore[no-untyped-call]
                    notices.psubscribe(self._pattern)
                    self._hurry_all(self._waiting())
                    while not self._stopping.is_set():
                        self._hurry_all(self._heard(notices))
                        self._stopping.wait(GATHER_S)
            except redis.RedisError as error:
                logger.info("urgent requests can't be heard of now (%s)", type(error).__name__)
            except Exception:
                logger.exception("hearing of urgent requests failed; it goes on")
            self._stopping.wait(AWAY_S)

    def _heard(self, notices: Any) -> set[str]:
        """The queues of all notices that are there, or that come within a second."""
        found: set[str] = set()
        notice = notices.get_message(timeout=LISTEN_S)
        while notice is not None:
            channel = notice["channel"].decode(errors="replace")
            found.add(channel.removeprefix(self._pattern.partition("*")[0]).removesuffix(_ANY))
            notice = notices.get_message(timeout=0.0)
        return found

    def _hurry_all(self, queues: Iterable[str]) -> None:
        for queue in queues:
            self._hurry(queue)
