"""Hears at once what others tell a fleet's workers over the broker's channels: of urgent requests, also of those whose
queue this worker leaves alone for other work's sake, and of calls in flight that nobody waits for any more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

import redis

from keyfleet.redis_keys import QueueKeys

__all__ = ["Notices"]

logger = logging.getLogger(__name__)

LISTEN_S = 1.0
"""How long one look for notices waits (s)."""

GATHER_S = 0.01
"""Least time between two looks, so that many notices of a moment are one look (s)."""

AWAY_S = 0.5
"""Pause where the broker doesn't answer (s)."""


class Notices:
    """A thread. A notice that is lost with the connection is made good: urgent requests by looking at their queues when
    it stands again, and of those that nobody waits for their caller tells again and again."""

    def __init__(
        self,
        client: redis.Redis,
        fleet: str,
        *,
        hurry: Callable[[str], None],
        waiting: Callable[[], Iterable[str]],
        stop_call: Callable[[str, str], object],
        stopping: threading.Event,
    ) -> None:
        """`hurry` is told of each queue that has urgent requests; `waiting` names those that are left alone now.
        `stop_call(queue, request)` is told of requests that nobody waits for any more."""
        self._client = client
        any_queue = QueueKeys(fleet, "*")
        self._urgent, self._unwanted = any_queue.ready_urgent, any_queue.unwanted
        self._hurry = hurry
        self._waiting = waiting
        self._stop_call = stop_call
        self._stopping = stopping

    def start(self) -> None:
        """Begin to listen."""
        threading.Thread(target=self._run, name="keyfleet-notices", daemon=True).start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._client.pubsub(ignore_subscribe_messages=True) as channels:  # type: ignore[no-untyped-call]
                    channels.psubscribe(self._urgent, self._unwanted)
                    self._hurry_all(self._waiting())
                    while not self._stopping.is_set():
                        self._act_on(self._heard(channels))
                        self._stopping.wait(GATHER_S)
            except redis.RedisError as error:
                logger.info("nothing can be heard from the broker now (%s)", type(error).__name__)
            except Exception:
                logger.exception("acting on what was heard failed; it goes on")
            self._stopping.wait(AWAY_S)

    def _heard(self, channels: Any) -> set[tuple[str, str, str]]:
        """(pattern, queue, what was told) of all notices that are there, or that come within a second."""
        found: set[tuple[str, str, str]] = set()
        message = channels.get_message(timeout=LISTEN_S)
        while message is not None:
            pattern, channel, told = (message[part].decode(errors="replace") for part in ("pattern", "channel", "data"))
            before, _, after = pattern.partition("*")
            found.add((pattern, channel.removeprefix(before).removesuffix(after), told))
            message = channels.get_message(timeout=0.0)
        return found

    def _act_on(self, notices: set[tuple[str, str, str]]) -> None:
        for pattern, queue, request in notices:
            if pattern == self._unwanted:
                self._stop_call(queue, request)
        self._hurry_all({queue for pattern, queue, _ in notices if pattern == self._urgent})

    def _hurry_all(self, queues: Iterable[str]) -> None:
        for queue in queues:
            self._hurry(queue)
