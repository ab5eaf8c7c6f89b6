"""Asking a gateway with curl, as its user would type it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["TIMED_OUT", "CurlClient", "find_curl"]

TIMED_OUT = 28
"""curl's exit code where --max-time was over."""

INSTALLS = {
    "apt-get": "apt-get update && apt-get install --yes --no-install-recommends curl",
    "dnf": "dnf install --assumeyes curl",
    "apk": "apk add curl",
}
"""What installs it, for each system's package manager."""


def find_curl() -> str:
    """curl's path. Where it is missing it is installed by root; everybody else is told to."""
    if found := shutil.which("curl"):
        return found
    install = next((INSTALLS[name] for name in INSTALLS if shutil.which(name)), None)
    if install is None or os.geteuid() != 0:
        told = f" ({install})" if install else ""
        raise AssertionError(f"these tests need curl, which is not on the PATH: install it{told}")
    done = subprocess.run(install, shell=True, capture_output=True, text=True, check=False)
    if found := shutil.which("curl"):
        return found
    raise AssertionError(f"these tests need curl, and `{install}` could not install it:\n{done.stderr}")


@dataclass(frozen=True)
class CurlClient:
    """Each method asks once. `api_key` is sent from standard input, as users keep it out of the list of processes."""

    curl: str
    base_url: str
    api_key: str = field(repr=False)

    def ask(self, path: str, body: object = None, *options: str) -> tuple[int, dict[str, str], Any]:
        """Status, headers in lower case, and the document."""
        done = self._run(path, body, "--include", *options)
        head, _, text = done.stdout.partition("\n\n")
        first, *lines = head.splitlines()
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return int(first.split()[1]), headers, json.loads(text)

    def code(self, path: str, body: object, *options: str) -> int:
        """curl's exit code."""
        return self._run(path, body, *options).returncode

    def events(self, path: str, body: object) -> Generator[dict[str, Any], None, None]:
        """The documents of a stream, as soon as each of them is there. curl ends with whoever reads them."""
        command = self._command(path, body, "--no-buffer")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(self._configuration())
            process.stdin.close()
            try:
                for line in process.stdout:
                    if line.startswith("data: {"):
                        yield json.loads(line.removeprefix("data: "))
            finally:
                process.terminate()

    def _run(self, path: str, body: object, *options: str) -> subprocess.CompletedProcess[str]:
        command = self._command(path, body, *options)
        return subprocess.run(command, input=self._configuration(), capture_output=True, text=True, check=False)

    def _command(self, path: str, body: object, *options: str) -> list[str]:
        command = [self.curl, "--silent", "--show-error", "--config", "-", *options, self.base_url + path]
        if body is not None:
            command += ["--header", "Content-Type: application/json", "--data-binary", json.dumps(body)]
        return command

    def _configuration(self) -> str:
        return f'header = "Authorization: Bearer {self.api_key}"\n'
