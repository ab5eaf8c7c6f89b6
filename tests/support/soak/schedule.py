"""Which fault comes when: drawn from a seed, kept apart where two would hide each other's repair."""

from __future__ import annotations

import random
from collections import Counter

from support.soak.faults import FAULTS, End, Fault
from support.soak.fleet import SoakFleet

__all__ = ["Schedule"]

APART_S = 4.0
"""How long after its end a fault still counts as there: longer than what a fleet keeps to deliver again (s)."""


class Schedule:
    """A new fault every `every_s` seconds; each ends in its time. Times are those that the caller gives (s)."""

    def __init__(self, fleet: SoakFleet, seed: int, every_s: float) -> None:
        self._fleet = fleet
        self._chance = random.Random(seed)
        self._every_s = every_s
        self._due_s = every_s
        self._running: list[tuple[float, Fault, End]] = []
        self._ended_s: dict[str, float] = {}
        self._left: list[Fault] = []
        self.counts: Counter[str] = Counter()

    @property
    def running(self) -> list[str]:
        """The faults that are there now."""
        return [fault.name for _, fault, _ in self._running]

    def step(self, now_s: float, *, may_begin: bool) -> None:
        """End what is due, and begin the next fault if it is time."""
        self._end_due(now_s)
        if may_begin and now_s >= self._due_s:
            fault = self._draw(now_s)
            if fault is not None:
                self._due_s = now_s + self._chance.uniform(0.5, 1.5) * self._every_s
                self._begin(fault, now_s)

    def end_all(self) -> None:
        """End every fault."""
        self._end_due(float("inf"))

    def _begin(self, fault: Fault, now_s: float) -> None:
        until_s = now_s + self._chance.uniform(*fault.lasts_s)
        self._running.append((until_s, fault, fault.begin(self._fleet, self._chance)))
        self.counts[fault.name] += 1

    def _end_due(self, now_s: float) -> None:
        for entry in [entry for entry in self._running if entry[0] <= now_s]:
            self._running.remove(entry)
            entry[2]()
            self._ended_s[entry[1].kind] = entry[0] if now_s == float("inf") else now_s

    def _draw(self, now_s: float) -> Fault | None:
        """Every fault comes once before any comes again."""
        if not self._left:
            self._left = list(FAULTS)
            self._chance.shuffle(self._left)
        for fault in self._left:
            if self._may_begin(fault, now_s):
                self._left.remove(fault)
                return fault
        return None

    def _may_begin(self, fault: Fault, now_s: float) -> bool:
        kinds = {other.kind for _, other, _ in self._running}
        recent = {kind for kind, ended_s in self._ended_s.items() if now_s - ended_s < APART_S}
        return fault.kind not in kinds and not fault.apart_from & (kinds | recent)
