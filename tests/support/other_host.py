"""A second host on this machine: a network namespace with one cable to here, which can be pulled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from types import TracebackType

from support.commands import Command
from support.place import Place

__all__ = ["OtherHost", "why_no_other_host"]


def why_no_other_host() -> str:
    """Why this machine can't have one; empty where it can."""
    if not sys.platform.startswith("linux") or shutil.which("ip") is None:
        return "network namespaces need Linux and iproute2"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"keyfleet-try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"this machine allows no network namespaces: {tried.stderr.strip()}"
    cable = subprocess.run(["ip", "-n", name, "link", "add", "try", "type", "veth"], capture_output=True, check=False)
    _ip("netns", "del", name)
    return "this machine has no virtual cables" if cable.returncode else ""


class OtherHost:
    """Sees this host at `address`, and nothing else. Its files are this host's."""

    def __init__(self) -> None:
        number = os.getpid() % 16_000
        network = f"198.18.{number // 64}.{number % 64 * 4}"  # of the range kept for tests of networks (RFC 2544)
        first, _, last = network.rpartition(".")
        self.address = f"{first}.{int(last) + 1}"
        self._own_address = f"{first}.{int(last) + 2}"
        self._name = f"keyfleet-{os.getpid()}"
        self._cable = f"kf{os.getpid()}"

    def __enter__(self) -> OtherHost:
        _ip("netns", "add", self._name)
        try:
            self._connect()
        except subprocess.CalledProcessError:
            _ip("netns", "del", self._name)  # and the cable with it
            raise
        return self

    def _connect(self) -> None:
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self._name)
        _ip("addr", "add", f"{self.address}/30", "dev", self._cable)
        _ip("-n", self._name, "addr", "add", f"{self._own_address}/30", "dev", "eth0")
        _ip("-n", self._name, "link", "set", "lo", "up")
        _ip("-n", self._name, "link", "set", "eth0", "up")
        self.plug_in()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _ip("link", "del", self._cable)
        _ip("netns", "del", self._name)

    def plug_in(self) -> None:
        """Let packets pass."""
        _ip("link", "set", self._cable, "up")

    def unplug(self) -> None:
        """Lose every packet, either way."""
        _ip("link", "set", self._cable, "down")

    def start(self, place: Place, *arguments: str) -> Command:
        """Start a command of keyfleet there."""
        return place.start(*arguments, before=("ip", "netns", "exec", self._name))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
