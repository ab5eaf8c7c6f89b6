"""Putting together what one job of a Fleet runs with."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from keyfleet.batch.job import JobFiles
from keyfleet.batch.packing import Packing
from keyfleet.batch.parse import LineParser
from keyfleet.batch.retry_failed import RetryJob
from keyfleet.fleet_jobs.deadline import Expiry, JobAdmission
from keyfleet.fleet_jobs.finding import NO_NAMES
from keyfleet.fleet_jobs.folder import JobFolder, JobSpec
from keyfleet.fleet_jobs.intake import Intake
from keyfleet.fleet_jobs.own_outcomes import refused_outcome
from keyfleet.ledger import JobFacts, JobLedger, JobOptions
from keyfleet.running.admission import Admission
from keyfleet.running.backend import Backend
from keyfleet.running.connection import Connection
from keyfleet.running.fleet_watch import FleetWatch
from keyfleet.running.job_run import JobView
from keyfleet.running.output_estimates import OutputEstimates
from keyfleet.running.pipeline import Feeding, Pipeline
from keyfleet.running.served_models import ServedModels
from keyfleet.running.tally import Tally
from keyfleet.running.window import WINDOW_REQUESTS

__all__ = ["Assembly", "OpenedFleet", "Task", "assemble"]

ASIDE_BYTES = 24 * 20_000
"""About 20,000 rows are set aside while their models' windows are full, so that rows of other models pass: an iterable
is not read to its end long before it is needed."""

EPHEMERAL_KEEP_MS = 1000
"""How long the record of a job stays that nobody asks for again (ms)."""


class OpenedFleet(Protocol):
    """What a job needs of the Fleet that it belongs to. `served` None: the workers are others' business."""

    @property
    def backend(self) -> Backend: ...

    @property
    def served(self) -> ServedModels | None: ...

    @property
    def encoding_name(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done. `intake` None: all `rows` were read before. `expected_rows` is a guess, or nothing."""

    folder: JobFolder
    spec: JobSpec
    fleet: OpenedFleet
    files: JobFiles | RetryJob
    intake: Intake | None = None
    rows: int = 0
    expected_rows: int | None = None
    tally: Tally = field(default_factory=Tally)

    @property
    def is_retry(self) -> bool:
        return isinstance(self.files, RetryJob)

    @property
    def deadline_s(self) -> float | None:
        """A retry is asked for when the deadline has passed, so it has none."""
        return None if self.is_retry else self.spec.deadline_s

    def total_rows(self) -> int | None:
        """How many rows there are, as far as it can be told."""
        if self.intake is None:
            return self.rows
        return self.intake.end.rows if self.intake.end is not None else self.expected_rows


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts of a job under way."""

    connection: Connection
    admission: Admission
    pipeline: Pipeline
    watch: FleetWatch
    view: JobView
    expiry: Expiry | None


def assemble(task: Task, stack: ExitStack) -> Assembly:
    """Put together what `task` takes; `stack` gives it back."""
    connection = _connect(task, stack)
    parser = LineParser("fleet", task.spec.endpoint)
    stack.callback(parser.close)
    fleet = task.fleet
    admission = Admission(
        fleet.served,
        fleet.encoding_name,
        assumed_output_tokens=OutputEstimates(connection.client).tokens,
        packing=Packing(task.files.job_id, connection.backend.settings.pack_inputs) if task.spec.pack else None,
    )
    feeding = Feeding(
        window=task.spec.window or WINDOW_REQUESTS,
        aside_bytes=ASIDE_BYTES,
        before_accept=task.intake.sync if task.intake is not None else lambda: None,
        outcome_of_invalid=refused_outcome,
        total_lines=task.total_rows,
    )
    is_urgent = task.spec.priority == "urgent"
    admits = JobAdmission(admission, urgent=is_urgent, deadline_s=task.deadline_s)
    pipeline = Pipeline(feeding, task.files, parser, admits, connection, task.tally)
    name = connection.backend.settings.fleet
    watch = FleetWatch(connection.client, name)
    view = JobView(task.files, pipeline, watch, task.tally, key_names=_key_names(fleet))
    expiry = None
    if task.deadline_s is not None:
        ledger, window = connection.ledger, pipeline.window
        expiry = Expiry(task.deadline_s, connection.client, name, ledger, window, pipeline.put_outcome)
    return Assembly(connection, admission, pipeline, watch, view, expiry)


def _connect(task: Task, stack: ExitStack) -> Connection:
    backend, spec = task.fleet.backend, task.spec
    client, watch = backend.connect()
    stack.callback(client.close)
    settings = backend.settings
    options = JobOptions(settings.max_attempts, settings.timeout_s, settings.timeout_attempts)
    keep_ms = EPHEMERAL_KEEP_MS if spec.is_ephemeral else round(settings.keep_jobs_s * 1000)
    ledger = JobLedger(
        client,
        settings.fleet,
        task.files.job_id,
        options,
        facts=_facts(task),
        keep_ms=keep_ms,
        is_caller=spec.is_ephemeral,  # nobody else can ever ask for its results
    )
    return Connection(backend, client, watch, ledger, into=(spec.fleet, spec.job_id) if task.is_retry else None)


def _facts(task: Task) -> JobFacts:
    spec = task.spec
    return JobFacts(
        name=spec.name or NO_NAMES[spec.is_ephemeral],
        input=str(task.folder.input),
        output=str(task.folder.results),
        host=spec.host,
        format="fleet",
        retry_of=spec.job_id if task.is_retry else "",
    )


def _key_names(fleet: OpenedFleet) -> Callable[[], tuple[str, ...]]:
    return lambda: tuple(key.name for key in fleet.served.keys) if fleet.served is not None else ()
