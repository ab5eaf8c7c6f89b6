"""Runs one job of a Fleet in the background, beside others, until it is done, cancelled or interrupted."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import cast

import redis

from keyfleet import redis_keys
from keyfleet.batch.job import JobFiles
from keyfleet.errors import FleetClosed, JobStopped
from keyfleet.fleet_jobs.adoption import adopt
from keyfleet.fleet_jobs.assembly import Task, assemble
from keyfleet.fleet_jobs.oversight import Oversight
from keyfleet.fleet_jobs.own_outcomes import cancel_the_rest
from keyfleet.fleet_jobs.same_server import check_same_server, noting_server
from keyfleet.jobs import purge_job
from keyfleet.ledger import JobRecord
from keyfleet.running.connection import Connection
from keyfleet.running.job_run import JobRun
from keyfleet.running.snapshot import End, Snapshot

__all__ = ["JobRunner"]


class JobRunner:
    """A thread that runs one job, whose files are its own until it is over. For any thread.

    `end` is how the job ended, `failure` what has ended it by force.
    """

    def __init__(self, task: Task, *, on_over: Callable[[JobRunner], None] = lambda runner: None) -> None:
        """`on_over` is told by the job's own thread that it is over, once nothing of it is left to do."""
        self.task = task
        self._on_over = on_over
        self.snapshot: Snapshot | None = None
        self.end: End | None = None
        self.failure: BaseException | None = None
        self._stop_reason: str | None = None
        self._interrupts = 0
        self._wants_cancel = not task.is_retry and task.folder.is_cancelled
        self._is_cancelled = False
        self.is_unwanted = False
        """Whether nobody takes its results any more."""
        self._is_told = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"keyfleet-job-{self.name}", daemon=True)

    @property
    def name(self) -> str:
        """The beginning of the job's id."""
        return self.task.spec.job_id[:8]

    def start(self) -> None:
        """Begin to read, to feed and to collect."""
        if self.task.intake is not None:
            self.task.intake.start()
        self._thread.start()

    def interrupt(self, *, at_once: bool = False) -> None:
        """End in order, as Ctrl-C ends `keyfleet run`; `at_once`: without waiting for calls in flight. Doesn't wait."""
        self._interrupts = 2 if at_once else max(1, self._interrupts)
        self._stop_reading()

    def cancel(self) -> None:
        """Send nothing more, even if it is interrupted meanwhile. Doesn't wait."""
        self._wants_cancel = True
        self._stop_reading()

    def discard(self) -> None:
        """Nobody wants the results any more: cancel it, and remove its directory at its end. Doesn't wait."""
        self.is_unwanted = True
        self.cancel()
        if self.is_over:
            self.task.folder.remove()

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and its files are closed."""
        return self._over.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is over, for `timeout_s` at the most; returns whether it is."""
        return self._over.wait(timeout_s)

    def error(self) -> BaseException | None:
        """Why a job that is over has no more results, or what its iterable has raised."""
        if self.failure is not None:
            return self.failure
        if self.is_unwanted:
            return FleetClosed(f"job {self.name} was ended, as its Fleet was closed")
        if self._is_cancelled:
            return self.task.intake.failure if self.task.intake is not None else None
        if self.end is End.STOPPED and self._stop_reason:
            return JobStopped(f"job {self.name} was stopped: {self._stop_reason}", reason=self._stop_reason)
        if self.end is End.INTERRUPTED or (self._interrupts and not self._is_all_read):
            return FleetClosed(f"the fleet was closed before job {self.name} was done; another goes on with it")
        return self.task.intake.failure if self.task.intake is not None else None

    def raise_error_once(self) -> None:
        """Raise that error; the second time only what the iterable has raised, as the rest may be gone on with."""
        error = self.error()
        if error is None or (self._is_told and not self._is_by_iterable(error)):
            return
        self._is_told = True
        raise error

    def _is_by_iterable(self, error: BaseException) -> bool:
        return self.task.intake is not None and error is self.task.intake.failure

    @property
    def _is_all_read(self) -> bool:
        intake = self.task.intake
        return intake is None or (intake.end is not None and intake.end.is_complete) or intake.failure is not None

    def _stop_reading(self) -> None:
        if self.task.intake is not None:
            self.task.intake.stop()

    def _run(self) -> None:
        task = self.task
        try:
            with ExitStack() as stack:
                stack.callback(task.files.close)
                if task.intake is not None:
                    stack.callback(task.intake.close)
                    stack.callback(task.intake.stop)
                self._run_job(stack)
        except redis.RedisError as error:
            reason = f"the broker stopped answering ({type(error).__name__})"
            self.failure = JobStopped(f"job {self.name} was stopped: {reason}", reason=reason)
        except BaseException as error:
            self.failure = error
        finally:
            if self.is_unwanted:
                task.folder.remove()
            self._over.set()
            if self.is_unwanted:  # by now
                task.folder.remove()
            self._on_over(self)

    def _run_job(self, stack: ExitStack) -> None:
        parts = assemble(self.task, stack)
        if not self._take_over(parts.connection):
            self.end = End.INTERRUPTED
            return
        oversight = Oversight(self.task, parts, self._is_to_be_cancelled)
        run = JobRun(
            parts.view,
            parts.connection,
            look=oversight.why_stop,
            interrupts=lambda: self._interrupts,
            feeds=not self._is_to_be_cancelled(),
            is_patient=lambda: self._wants_cancel and not self._interrupts and not self.is_unwanted,
        )
        end = run.run(self._show)
        is_cancelled = end is not End.DONE and (oversight.is_cancelled or self._wants_cancel)
        self._stop_reason = run.stop_reason
        needs_no_more = self._interrupts <= 1 and (self.is_unwanted or self.task.is_retry)
        if is_cancelled and (run.is_settled or needs_no_more):
            self._end_cancelled(parts.connection)
            end = End.STOPPED
        elif is_cancelled and not self.is_unwanted and not self.task.is_retry:
            # answers may still come: who goes on with it takes these first
            self.task.folder.remember_cancel()
            self._stop_reason = "it was cancelled, and what workers have of it is still open; going on with it ends it"
        self.end = end

    def _is_to_be_cancelled(self) -> bool:
        """Also by another process, which leaves word in the job's directory."""
        if not self._wants_cancel and not self.task.is_retry and self.task.folder.is_cancelled:
            self.cancel()
        return self._wants_cancel

    def _take_over(self, connection: Connection) -> bool:
        """Take over what a fleet of another name has of the job, or of this retry, and remember where it is from now
        on; False where this was interrupted, so that nothing may be sent yet."""
        task, fleet = self.task, connection.backend.settings.fleet
        spec = task.spec
        if spec.is_ephemeral:
            return True
        check_same_server(connection, spec)
        was_in = spec.retry_fleet or spec.fleet if task.is_retry else spec.fleet
        if was_in != fleet and not adopt(connection.client, was_in, task.files, lambda: self._interrupts > 0):
            return False
        found = replace(spec, retry_fleet=fleet) if task.is_retry else replace(spec, fleet=fleet)
        found = noting_server(connection, found)
        if found != spec:
            task.folder.write_spec(found)
        return True

    def _end_cancelled(self, connection: Connection) -> None:
        files = self.task.files
        self._is_cancelled = True
        if not self.is_unwanted:
            if isinstance(files, JobFiles):
                cancel_the_rest(files)
            return
        fleet = connection.backend.settings.fleet
        with contextlib.suppress(redis.RedisError):
            found = cast("dict[bytes, bytes]", connection.client.hgetall(redis_keys.job(fleet, files.job_id)))
            purge_job(connection.client, JobRecord.of(fleet, files.job_id, found), force=True)

    def _show(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
