"""One soak from its start to its verdict."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyfleet.sim import SimConfig, SimKey, SimLatency, SimProcess
from support.breakable_server import BreakableServer
from support.fleet_job import FleetJob
from support.ledger_check import assert_promises_kept, repeats_in
from support.place import Place, sim_key
from support.server import running
from support.soak.faults import FAULTS, Fault, long_freeze
from support.soak.fleet import SoakFleet
from support.soak.schedule import Schedule, plan

__all__ = ["SoakOptions", "SoakReport", "run_soak"]

LOOK_S = 0.05
"""Interval of tending to the fleet (s)."""

TELL_S = 5.0
"""Interval of telling how it stands (s)."""

CALM_SHARE = 0.97
"""From this share of the lines on no new fault begins, so that the end shows what is left over."""

QUIET_S = 90.0
"""Without a single new row for so long, the soak has failed (s)."""


@dataclass(frozen=True)
class SoakOptions:
    """`requests` lines, over `workers` workers with a key each, a fault every `every_s` seconds drawn from `seed`.

    All keys together allow about `rate` requests a second. Once, where `freeze_s` is given, the server stands still for
    so long. `without` are kinds of faults that don't come: without those of workers, nothing may be sent twice.
    """

    requests: int = 20_000
    workers: int = 5
    seed: int = 1
    every_s: float = 4.0
    longest_s: float = 3600.0
    rate: int = 50
    freeze_s: float = 0.0
    latency_ms: float = 300.0
    without: frozenset[str] = frozenset()

    def faults(self) -> tuple[Fault, ...]:
        """The faults that come."""
        all_of_them = (*FAULTS, long_freeze(self.freeze_s)) if self.freeze_s else FAULTS
        return tuple(fault for fault in all_of_them if fault.kind not in self.without)


@dataclass
class SoakReport:
    """What came of it. `failure` is None where all promises were kept."""

    options: SoakOptions
    faults: dict[str, int] = field(default_factory=dict)
    stats: dict[str, Any] = field(default_factory=dict)
    may_repeat: int = 0
    took_s: float = 0.0
    surprises: list[str] = field(default_factory=list)
    failure: str | None = None

    @property
    def repeats(self) -> int:
        """Requests that the provider saw twice."""
        return repeats_in(self.stats)


def run_soak(directory: Path, options: SoakOptions, say: Callable[[str], None]) -> SoakReport:
    """Run a job through all faults in an empty `directory`, and check the promises at its end."""
    report = SoakReport(options)
    with ExitStack() as stack:
        fleet = _start(directory, options, stack)
        schedule = Schedule(fleet, plan(options.faults(), options.seed, options.every_s))
        began_s = time.monotonic()
        try:
            _until_done(fleet, schedule, options, say, began_s)
            report.took_s = time.monotonic() - began_s
            assert not fleet.surprises, fleet.surprises[0]
            assert_promises_kept(fleet.job.sim, fleet.job.output, options.requests, repeats=fleet.may_repeat)
        except AssertionError as error:
            report.failure = str(error)
        report.took_s = report.took_s or time.monotonic() - began_s
        report.faults = dict(schedule.counts)
        report.stats = fleet.job.sim.stats()
        report.may_repeat, report.surprises = fleet.may_repeat, fleet.surprises
    return report


def _start(directory: Path, options: SoakOptions, stack: ExitStack) -> SoakFleet:
    keys = _keys(options.workers, options.rate)
    latency = SimLatency(latency_ms=options.latency_ms, jitter_ms=options.latency_ms / 2)
    place = Place(directory)
    stack.callback(place.close)
    broker = stack.enter_context(running(BreakableServer(directory / "server")))

    def start_sim(config: SimConfig) -> SimProcess:
        return stack.enter_context(SimProcess(config))

    job: Any = FleetJob.begin(place, broker, start_sim, SimConfig(keys=keys, latency=latency), options.requests)
    fleet = SoakFleet(job)
    stack.callback(fleet.close)
    fleet.start()
    return fleet


def _keys(count: int, rate: int) -> tuple[SimKey, ...]:
    """Limits of several shapes, each of about the same rate; one of these lines costs 14 tokens."""
    each = max(1, rate // count)
    shapes: list[dict[str, str]] = [
        {"requests": f"{each}/1 second"},
        {"requests": f"{5 * each}/5 second"},
        {"requests": f"{10 * each}/10 second", "tokens": f"{130 * each}/10 second"},
    ]
    return tuple(sim_key(f"k{number}", **shapes[number % len(shapes)]) for number in range(1, count + 1))


def _until_done(
    fleet: SoakFleet, schedule: Schedule, options: SoakOptions, say: Callable[[str], None], began_s: float
) -> None:
    pause = threading.Event()
    rows, moved_s, told_s = 0, began_s, began_s
    while not fleet.is_done:
        now_s = time.monotonic()
        written = fleet.job.written
        if written > rows:
            rows, moved_s = written, now_s
        assert now_s - moved_s < QUIET_S, f"nothing was written for {QUIET_S:g} s; there: {schedule.running}"
        assert now_s - began_s < options.longest_s, f"not done within {options.longest_s:g} s"
        schedule.step(now_s - began_s, may_begin=written < CALM_SHARE * options.requests)
        fleet.tend()
        if now_s - told_s >= TELL_S:
            told_s = now_s
            there = ", ".join(schedule.running) or "nothing"
            say(f"{now_s - began_s:5.0f} s  {written} of {options.requests}  faults {schedule.counts.total()}  {there}")
        pause.wait(LOOK_S)
    schedule.end_all()
