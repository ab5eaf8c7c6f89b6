"""Which fault comes when: drawn from a seed alone, kept apart where two would hide each other's repair."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from support.soak.faults import End, Fault
from support.soak.fleet import SoakFleet

__all__ = ["Planned", "Schedule", "plan"]

APART_S = 5.0
"""How long after its end a fault still counts as there: longer than what a fleet keeps to deliver again (s)."""

STEP_S = 0.25
"""A fault that may not begin yet is looked at again after so long (s)."""


@dataclass(frozen=True)
class Planned:
    """`fault` comes at `at_s` and ends at `until_s`; `seed` draws whatever else is chance in it."""

    at_s: float
    until_s: float
    fault: Fault
    seed: int


def plan(faults: Sequence[Fault], seed: int, every_s: float) -> Iterator[Planned]:
    """A fault about every `every_s` seconds, without end; every fault comes once before any comes again."""
    chance = random.Random(seed)
    left: list[Fault] = []
    before: list[Planned] = []
    at_s = every_s
    while True:
        if not left:
            left = [fault for fault in faults if not (before and fault.once)]
            chance.shuffle(left)
        fault = next((one for one in left if _may_begin(one, at_s, before)), None)
        if fault is None:
            at_s += STEP_S
            continue
        left.remove(fault)
        planned = Planned(at_s, at_s + chance.uniform(*fault.lasts_s), fault, chance.randrange(2**32))
        before.append(planned)
        yield planned
        at_s += chance.uniform(0.5, 1.5) * every_s


def _may_begin(fault: Fault, at_s: float, before: Sequence[Planned]) -> bool:
    there = {one.fault.kind for one in before if one.until_s > at_s}
    recent = {one.fault.kind for one in before if one.until_s + APART_S > at_s}
    return fault.kind not in there and not fault.apart_from & recent


class Schedule:
    """Begins and ends faults as planned. Its time stands still while it does, so that a slow machine keeps the plan."""

    def __init__(self, fleet: SoakFleet, planned: Iterator[Planned]) -> None:
        self._fleet = fleet
        self._planned = planned
        self._next = next(planned)
        self._running: list[tuple[Planned, End]] = []
        self._busy_s = 0.0
        self.counts: Counter[str] = Counter()

    @property
    def running(self) -> list[str]:
        """The faults that are there now."""
        return [planned.fault.name for planned, _ in self._running]

    def step(self, now_s: float, *, may_begin: bool) -> None:
        """Do what is due `now_s` seconds after the start."""
        began_s = time.monotonic()
        self._end_due(now_s - self._busy_s)
        if now_s - self._busy_s >= self._next.at_s:
            if may_begin:
                self._begin(self._next)
            self._next = next(self._planned)
        self._busy_s += time.monotonic() - began_s

    def end_all(self) -> None:
        """End every fault."""
        self._end_due(float("inf"))

    def _begin(self, planned: Planned) -> None:
        self._running.append((planned, planned.fault.begin(self._fleet, random.Random(planned.seed))))
        self.counts[planned.fault.name] += 1

    def _end_due(self, now_s: float) -> None:
        for entry in [entry for entry in self._running if entry[0].until_s <= now_s]:
            self._running.remove(entry)
            entry[1]()
