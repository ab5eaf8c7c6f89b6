"""`keyfleet gateway` as a process that may be killed, and started again at the same address."""

from __future__ import annotations

import re
import signal

from support.commands import Command
from support.events import wait_until
from support.place import Place

__all__ = ["SharedGateway"]


class SharedGateway:
    """One gateway of `place` on a shared broker, whose workers are others' business. It asks for no API key."""

    def __init__(self, place: Place, broker_url: str) -> None:
        self._place = place
        self._broker_url = broker_url
        self._port = "0"
        self.base_url = ""
        self._command = self._started()

    def _started(self) -> Command:
        return self._place.start("gateway", "--port", self._port, "--broker", self._broker_url)

    def wait_until_listening(self) -> None:
        """Wait until calls can be made at `base_url`, which stays the same from then on."""

        def found() -> list[str]:
            assert self._command.code is None, self._command.stderr
            return re.findall(r"listening on (\S+) ", self._command.stdout)

        self.base_url = wait_until(found, "the gateway listens")[0]
        self._port = self.base_url.split(":")[2].split("/")[0]

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self._command.end()

    def stop(self) -> None:
        """Have it end in order."""
        self._command.signal(signal.SIGTERM)
        assert self._command.wait() == 0, self._command.stderr
        assert "Traceback" not in self._command.stderr, self._command.stderr

    def start_again(self) -> None:
        """Start it anew, at the address that clients know."""
        self._command = self._started()
        self.wait_until_listening()
