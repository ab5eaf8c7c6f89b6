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
from keyfleet.tickets import REQUESTS_PER_TICKET, TicketOffice

__all__ = ["FULL_SHARE", "Acceptor", "issue_tickets"]

logger = logging.getLogger(__name__)

FULL_SHARE = 0.8
"""Share of the server's memory limit from which on nothing more is accepted, so that the server can always empty."""

LOOK_S = 1.0
"""Interval of looking at the server's memory, and at the disks (s)."""

RETRY_S = 0.5
"""Pause before trying again where the server is full or away (s)."""


class Acceptor:
    """Accepts requests for one job and issues their tickets. To be used by one thread."""

    def __init__(
        self,
        client: redis.Redis,
        ledger: JobLedger,
        tickets: TicketOffice,
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
        self._tickets = tickets
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
                accepted = self._ledger.accept(queue, wanted, batch=batch, options=options)
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
                urgent = any(request.urgent for request in wanted)
                issue_tickets(self._ledger, self._tickets, queue, sum(accepted), urgent=urgent)
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


def issue_tickets(ledger: JobLedger, tickets: TicketOffice, queue: str, count: int, *, urgent: bool) -> None:
    """Issue what tickets `queue` lacks, up to those of `count` new requests. Never raises: the reaper replaces them.

    Workers also take without a ticket while they wait for quota, so a ticket for each batch would pile up as a job
    goes on. Urgent requests get tickets that overtake those of others.
    """
    try:
        new = -(-count // REQUESTS_PER_TICKET)
        lacking = ledger.lacking_tickets(queue, urgent=urgent) if new else 0
        if lacking > 0:
            tickets.issue_for(queue, min(new, lacking) * REQUESTS_PER_TICKET, urgent=urgent)
    except Exception as error:
        logger.info("tickets could not be sent (%s); the reaper replaces them", type(error).__name__)
