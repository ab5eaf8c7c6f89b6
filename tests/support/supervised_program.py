"""A supervisor in a process of its own, of trivial workers that leave a mark for each of their lives.

Arguments: the directory of marks, which also holds `keys.json` (key name to its behaviour and the fields of its
configuration), and the supervisor's options as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from keyfleet.config import KeyConfig, KeySource, SecretReference
from keyfleet_workers import supervisor
from keyfleet_workers.assignment import EveryKey, NamedKey
from keyfleet_workers.children import Launcher
from keyfleet_workers.exit_codes import CONFIGURATION_EXIT, KEY_SET_ASIDE
from keyfleet_workers.key_leases import KeyLease
from keyfleet_workers.supervisor import Supervisor

DIRECTORY = Path(sys.argv[1])
OPTIONS: dict[str, Any] = json.loads(sys.argv[2])


def mark(key: KeyConfig, text: str = "") -> None:
    """Leave the mark `<key>.<pid>`."""
    (DIRECTORY / f"{key.name}.{os.getpid()}").write_text(text or repr(key.timeout_s))


def append(key: KeyConfig, text: str) -> None:
    """Say more in the mark."""
    with (DIRECTORY / f"{key.name}.{os.getpid()}").open("a") as file:
        file.write(text)


def end_with_parent() -> None:
    """End once standard input is closed."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def until_told(key: KeyConfig) -> NoReturn:
    """Live until SIGTERM or the parent's end."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    mark(key)
    while True:
        signal.pause()


def breaks(key: KeyConfig) -> NoReturn:
    """Die of an error."""
    mark(key)
    raise RuntimeError("made up")


def is_misconfigured(key: KeyConfig) -> NoReturn:
    """End as a worker whose secret is missing."""
    mark(key)
    raise SystemExit(CONFIGURATION_EXIT)


def is_set_aside(key: KeyConfig) -> int:
    """End as a worker whose key is revoked."""
    mark(key)
    return KEY_SET_ASIDE


def stays(key: KeyConfig) -> NoReturn:
    """Not leave when told in order; says in its mark what it was told."""
    for number in (signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, lambda number, frame: append(key, f" {signal.Signals(number).name}"))
    mark(key)
    while True:
        signal.pause()


def tells_signals(key: KeyConfig) -> int:
    """Write into the mark how signals stand at the start of a worker."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    mark(key, f"{sorted(blocked)} {handlers == [signal.SIG_DFL] * 3}")
    return CONFIGURATION_EXIT


def spawn(key: KeyConfig) -> list[str]:
    """A program that leaves a mark and lives until its parent's end."""
    code = f"import os, pathlib; pathlib.Path({str(DIRECTORY)!r}, f'{key.name}.{{os.getpid()}}').touch(); os.read(0, 1)"
    return [sys.executable, "-S", "-c", code]


def serve(key: KeyConfig) -> int:
    """Do what `keys.json` says of the key."""
    behaviour = json.loads((DIRECTORY / "keys.json").read_text())[key.name].get("behaviour", "until_told")
    code: int = globals()[behaviour](key)
    return code


def load() -> KeySource:
    """The keys as `keys.json` has them."""
    found = json.loads((DIRECTORY / "keys.json").read_text())
    keys = tuple(
        KeyConfig(name, SecretReference("${KEY}"), workers=fields.get("workers", 1), timeout_s=fields.get("timeout_s"))
        for name, fields in found.items()
    )
    return KeySource(keys, "from keys.json")


class Watch:
    """Looks at `keys.json` each time."""

    def __init__(self) -> None:
        self._known = load().keys

    def look(self, *, is_forced: bool = False) -> KeySource | None:
        """The keys, if they have changed or it is forced."""
        source = load()
        if source.keys == self._known and not is_forced:
            return None
        self._known = source.keys
        return source


class OneAtATime(EveryKey):
    """The first key that was not set aside: stands for one that is leased."""

    def __init__(self) -> None:
        super().__init__("host")
        self._aside: set[str] = set()

    def wanted(self, usable: Sequence[KeyConfig]) -> dict[str, int]:
        """One worker for that key."""
        return {key.name: 1 for key in [key for key in usable if key.name not in self._aside][:1]}

    def set_aside(self, key: KeyConfig, lived_s: float) -> bool:
        """Never again."""
        self._aside.add(key.name)
        return True


class Upkeep:
    """Writes the leases that are held into the file `leases`; those named in the file `lost` are lost once."""

    def look(self, held: frozenset[KeyLease], configured: Sequence[str]) -> frozenset[KeyLease]:
        """All is well unless `lost` says otherwise."""
        (DIRECTORY / "leases.new").write_text(" ".join(sorted(lease.key_name for lease in held)))
        (DIRECTORY / "leases.new").replace(DIRECTORY / "leases")
        lost = DIRECTORY / "lost"
        if not lost.exists():
            return frozenset()
        names = lost.read_text().split()
        lost.unlink()
        return frozenset(lease for lease in held if lease.key_name in names)


def main() -> None:
    """Supervise."""
    supervisor.LOOK_S = supervisor.KEYS_LOOK_S = 0.01
    supervisor.AT_ONCE_S = 0.3
    assignments: dict[str, EveryKey] = {"all": EveryKey("host"), "a": NamedKey("host", name="a"), "one": OneAtATime()}
    launcher = Launcher(serve, spawn, can_fork=OPTIONS.pop("can_fork", True))
    watch = Watch() if OPTIONS.pop("watch", True) else None
    assignment = assignments[OPTIONS.pop("assignment", "all")]
    options = {"restart_first_s": 0.01, **OPTIONS}
    upkeep: Any = Upkeep()
    sys.exit(Supervisor(assignment, launcher, load().keys, watch, upkeep, **options).run())


if __name__ == "__main__":
    main()
