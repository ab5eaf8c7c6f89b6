"""Processes whose interpreter is changed before it runs anything: its clock, or times that would take too long."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["with_clock_off_by", "with_constants"]

CLOCK = """
import datetime, time

SHIFT_S = {shift_s!r}
real_time, real_time_ns, real_gettime = time.time, time.time_ns, time.clock_gettime

time.time = lambda: real_time() + SHIFT_S
time.time_ns = lambda: real_time_ns() + round(SHIFT_S * 1e9)
time.clock_gettime = lambda clock: real_gettime(clock) + SHIFT_S * (clock == time.CLOCK_REALTIME)

real_datetime = datetime.datetime


class OfAnyKind(type):
    def __instancecheck__(cls, one):
        return isinstance(one, real_datetime)


class ShiftedDatetime(real_datetime, metaclass=OfAnyKind):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)


datetime.datetime = ShiftedDatetime
"""


def with_clock_off_by(shift_s: float, directory: Path) -> dict[str, str]:
    """The environment of a process whose wall clock, and only that, is ahead by `shift_s`."""
    return _with_site(CLOCK.format(shift_s=shift_s), directory)


def with_constants(directory: Path, values: Mapping[str, float]) -> dict[str, str]:
    """The environment of a process in which constants, by their dotted names, have other values."""
    lines = ["from importlib import import_module"]
    for name, value in values.items():
        module, _, constant = name.rpartition(".")
        lines += [f"module = import_module({module!r})", f"assert module.{constant}", f"module.{constant} = {value!r}"]
    return _with_site("\n".join(lines), directory)


def _with_site(source: str, directory: Path) -> dict[str, str]:
    """Python runs `sitecustomize` before all else; the first one on its path."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(source, encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(directory), before)))}
