"""Whether a job of a Fleet has to stop before its end, and what its deadline has overtaken."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import redis

from keyfleet.fleet_jobs.assembly import Assembly, Task
from keyfleet.jobs import cancel_job
from keyfleet.running.snapshot import Snapshot
from keyfleet.running.watchdog import Watchdog

__all__ = ["Oversight"]

REFUSED_S = 3.0
"""How long every key may be refused, or the workers be gone, before a job ends that brings nothing (s)."""


class Oversight:
    """Looks at one job now and then. For one thread."""

    def __init__(self, task: Task, parts: Assembly, wants_cancel: Callable[[], bool]) -> None:
        settings = parts.connection.backend.settings
        self._task = task
        self._parts = parts
        self._wants_cancel = wants_cancel
        self._watchdog = Watchdog(settings.give_up_after_s, stop_early=False)
        self._served = task.fleet.served
        self._idle_s = 0.0
        self._finished = 0
        self.is_cancelled = False

    def why_stop(self, snapshot: Snapshot, tick_s: float) -> str | None:
        """Why the job has to stop now, if it has to. `tick_s` is the time since the last look."""
        self._follow_keys()
        self._expire()
        if self._wants_cancel():
            self._tell_ledger()
        if self._wants_cancel() or self._parts.pipeline.is_cancelled:
            self.is_cancelled = True
            return "it was cancelled"
        return self._unusable(snapshot, tick_s) or self._watchdog.look(snapshot, None, tick_s)

    def _follow_keys(self) -> None:
        served = self._task.fleet.served
        if served is not self._served and served is not None:
            self._served = served
            self._parts.admission.serve(served)

    def _expire(self) -> None:
        if self._parts.expiry is not None:
            with contextlib.suppress(redis.RedisError):  # the next look does it
                self._parts.expiry.look()

    def _tell_ledger(self) -> None:
        """So that `keyfleet jobs` shows it, and nothing that waits is started meanwhile."""
        connection = self._parts.connection
        with contextlib.suppress(redis.RedisError):
            cancel_job(connection.client, connection.backend.settings.fleet, connection.ledger.job_id)

    def _unusable(self, snapshot: Snapshot, tick_s: float) -> str | None:
        """Why none of the Fleet's own workers has brought anything for a while, nor will."""
        workers = self._parts.connection.backend.workers
        reason = None
        if workers is not None and workers.has_failed():
            reason = f"the workers have ended: {workers.last_words()}"
        elif workers is not None and not snapshot.tally.finished:
            refused = self._parts.watch.status.all_keys_refused()
            reason = f"every key is refused ({refused})" if refused else None
        self._idle_s = self._idle_s + tick_s if reason and snapshot.tally.finished == self._finished else 0.0
        self._finished = snapshot.tally.finished
        return reason if self._idle_s >= REFUSED_S else None
