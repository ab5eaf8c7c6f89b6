"""The stand-in as a child process, so that it has an interpreter of its own."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

from keyfleet.errors import ConfigurationError
from keyfleet.sim.config import Behaviour, SimConfig
from keyfleet.sim.document import document_of

__all__ = ["SimProcess"]

STOP_TIMEOUT_S = 5.0
"""How long a child may take to end before it is killed."""

_HTTP_TIMEOUT_S = 30.0


class SimProcess:
    """Runs `keyfleet sim` on a free port of the loopback, and ends it with this process, however that ends.

    The configuration goes down the child's standard input, never through its command line or a file; the child ends
    when that input closes.
    """

    def __init__(self, config: SimConfig) -> None:
        self.base_url = ""
        self._config = config
        self._child: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._child.pid if self._child else None

    def start(self) -> SimProcess:
        """Start the child and wait until it listens. Raises ConfigurationError where it ends instead."""
        command = [sys.executable, "-m", "keyfleet.cli.sim", "--port", "0", "--config-from-parent"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - no shell, no input in the command
        self._child = child
        if child.stdin is None or child.stdout is None:
            raise RuntimeError("the child's pipes are missing")
        child.stdin.write(json.dumps(document_of(self._config)) + "\n")
        child.stdin.flush()
        line = child.stdout.readline()
        address = next((word for word in line.split() if word.startswith("http://")), None)
        if address is None:
            self.stop()
            raise ConfigurationError("the stand-in's process ended before it listened; its error is shown above")
        self.base_url = address
        return self

    def stop(self) -> None:
        """End the child; killed if it takes longer than `STOP_TIMEOUT_S`."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.stdin is not None:
            child.stdin.close()
        try:
            child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()

    def stats(self) -> dict[str, Any]:
        """The counts, from `/sim/stats`."""
        document: dict[str, Any] = self._ask("GET", "/sim/stats")
        return document

    def reset(self) -> None:
        """Forget all counts and all that was charged."""
        self._ask("POST", "/sim/reset")

    def set_behaviour(self, name: str, behaviour: Behaviour) -> None:
        """From now on, until a reset, the key `name` (`*`: every key) behaves so. Raises ConfigurationError."""
        self._ask("POST", f"/sim/keys/{quote(name, safe='')}", {"behaviour": behaviour})

    def __enter__(self) -> SimProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _ask(self, method: str, path: str, document: object = None) -> Any:
        connection = http.client.HTTPConnection(urlsplit(self.base_url).netloc, timeout=_HTTP_TIMEOUT_S)
        try:
            connection.request(method, path, None if document is None else json.dumps(document))
            answer = connection.getresponse()
            found = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status >= 400:
            raise ConfigurationError(found["error"]["message"], setting=found["error"]["param"])
        return found
