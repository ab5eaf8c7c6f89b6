"""Reads a systemd unit."""

from __future__ import annotations

import shlex
from pathlib import Path

__all__ = ["HARDENING_FROM", "SystemdUnit"]

HARDENING_FROM = "DynamicUser=yes"
"""The line with which the part begins that all units share."""


class SystemdUnit:
    """A unit's settings, each with all its values in order; an instance's name stands in for `%i`."""

    def __init__(self, path: Path, instance: str = "research-1") -> None:
        self.name = path.name
        self.text = path.read_text(encoding="utf-8")
        replaced = self.text.replace("%i", instance).replace("%d", "/run/credentials")
        lines = [line.partition("=") for line in replaced.splitlines() if "=" in line and not line.startswith("#")]
        self._settings: dict[str, list[str]] = {}
        for name, _, value in lines:
            self._settings.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        return self.name

    def all(self, name: str) -> list[str]:
        """Every value of a setting."""
        return self._settings.get(name, [])

    def one(self, name: str) -> str:
        """The value of a setting that stands there once."""
        (value,) = self.all(name)
        return value

    @property
    def command(self) -> list[str]:
        """The words of its command."""
        return shlex.split(self.one("ExecStart"))

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it sets."""
        pairs = [pair.partition("=") for value in self.all("Environment") for pair in shlex.split(value)]
        return {name: value for name, _, value in pairs}

    @property
    def credentials(self) -> set[str]:
        """The paths at which it finds what it loads."""
        return {f"/run/credentials/{value.partition(':')[0]}" for value in self.all("LoadCredential")}

    @property
    def hardening(self) -> str:
        """What holds it, up to its installation."""
        return self.text[self.text.index(HARDENING_FROM) : self.text.index("[Install]")]
