"""Writing requests into the ledger, with patience for a server that is full or away, and for a full disk."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import redis

from keyfleet.contract import Request
from keyfleet.errors import JobCancelled
from keyfleet.ledger import JobLedger, JobOptions
from keyfleet.running.disk_room import DiskRoom
from keyfleet.ticket_message import new_tickets

__all__ = ["FULL_SHARE", "Acceptor"]

logger = logging.getLogger(__name__)

FULL_SHARE = 0.8
"""Share of the server's memory limit from which on nothing more is accepted, so that the server can always empty."""

LOOK_S = 1.0
"""Interval of looking at the server's memory, and at the disks (s)."""

RETRY_S = 0.5
"""Pause before trying again where the server is full or away (s)."""


class Acceptor:
    """Accepts requests for one job, with their tickets. To be used by one thread."""

    def __init__(
        self,
        client: redis.Redis,
        ledger: JobLedger,
        *,
        stopping: threading.Event,
        say: Callable[[str], None],
        disks: DiskRoom | None = None,
        on_cancelled: Callable[[], None] | None = None,
        on_pause: Callable[[], None] = lambda: None,
    ) -> None:
        """`say(reason)` tells what accepting waits for; an empty reason: nothing. `disks` are those that must have
        room; `on_cancelled` is told that the job was cancelled, and then nothing more is accepted; without it
        JobCancelled is raised, and the next requests may be accepted again. `on_pause` is called before each pause."""
        self._client = client
        self._ledger = ledger
        self._stopping = stopping
        self._say = say
        self._disks = disks
        self._on_cancelled = on_cancelled
        self._on_pause = on_pause
        self._looked_s = 0.0

    def accept(
        self,
        queue: str,
        requests: Sequence[Request],
        *,
        options: Mapping[str, JobOptions] | None = None,
        still_wanted: Callable[[Sequence[Request]], Sequence[Request]] = lambda requests: requests,
    ) -> bool:
        """Write `requests` into the ledger, waiting as long as it takes; False if stopped before that.

        `options` are as for `JobLedger.accept`. `still_wanted` is asked before each try which of them to write.
        Raises JobCancelled where nobody is told of that.
        """
        batch = uuid.uuid4().hex
        while not self._stopping.is_set():
            try:
                self._wait_for_room()
                wanted = still_wanted(requests)
                tickets = new_tickets(queue, len(wanted), overtake=any(request.urgent for request in wanted))
                self._ledger.accept(queue, wanted, batch=batch, options=options, tickets=tickets)
            except JobCancelled:
                if self._on_cancelled is None:
                    raise
                self._stopping.set()
                self._on_cancelled()
            except redis.exceptions.OutOfMemoryError:
                self._pause("the broker's memory is full")
            except redis.RedisError as error:
                logger.info("accepting failed: %s", type(error).__name__)
                self._pause("the broker doesn't answer")
            else:
                self._say("")
                return True
        return False

    def _pause(self, reason: str) -> None:
        self._say(reason)
        self._on_pause()
        self._stopping.wait(RETRY_S)

    def _wait_for_room(self) -> None:
        if time.monotonic() - self._looked_s < LOOK_S:
            return
        while not self._stopping.is_set():
            shortage = self._memory_shortage() or (self._disks.shortage() if self._disks else "")
            self._looked_s = time.monotonic()
            if not shortage:
                return
            self._pause(shortage)

    def _memory_shortage(self) -> str:
        memory = cast("dict[str, Any]", self._client.info("memory"))
        limit = int(memory.get("maxmemory", 0))
        if not limit or int(memory["used_memory"]) < FULL_SHARE * limit:
            return ""
        return f"the broker's memory is {int(memory['used_memory']) / limit:.0%} full"
