"""Clients of a gateway that others have written, each of them a program that tells what it sees."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from support import sightings
from support.commands import END_S
from support.gateway_process import API_KEY, GatewayProcess
from support.npm_package import find_node, package_path
from support.official_releases import BEFORE_1, LATE_1, NEWEST, release_path
from support.place import Place

__all__ = ["CLIENTS", "CURL", "NPM", "Sightings", "name_of_error", "start_client"]

NPM, CURL = "npm", "curl"

CLIENTS = (BEFORE_1, "1.0.0", LATE_1, NEWEST, NPM, CURL)
"""Releases of the official Python package, the newest of the npm package, and curl."""

_TYPES = {
    **dict.fromkeys(("BadRequestError", "NotFoundError", "AuthenticationError"), "invalid_request_error"),
    "APIError": "server_error",
    "APITimeoutError": "timed out",
    "RateLimitError": "requests",
}
_OWN_NAMES = {
    BEFORE_1: {
        "BadRequestError": "InvalidRequestError",
        "NotFoundError": "InvalidRequestError",
        "APITimeoutError": "Timeout",
    },
    NPM: {"APITimeoutError": "APIConnectionTimeoutError"},
    CURL: _TYPES,
}

TESTS = Path(__file__).parents[1]
_ASKED = ("CHAT_MODEL", "TEXT_MODEL", "EMBEDDING_MODEL", "SCARCE_MODEL", "WORDS", "PROMPTS", "INPUTS", "TIMEOUT_S")


def name_of_error(client: str, error: str) -> str:
    """What a client calls an error of the newest Python package; curl's user sees its `type` in the document."""
    return _OWN_NAMES.get(client, {}).get(error, error)


@dataclass
class Sightings:
    """What a client's program tells, once it has ended."""

    name: str
    _process: Popen[str]
    _found: dict[str, Any] | None = None

    def __getitem__(self, scenario: str) -> Any:
        """What it saw in a scenario, None where it has no such call. Fails where the scenario failed."""
        found = self.wait()
        assert scenario not in found["failed"], f"{self.name}: {found['failed'][scenario]}"
        return found["seen"][scenario]

    def wait(self) -> dict[str, Any]:
        """The program's document, at its end."""
        if self._found is None:
            stdout, stderr = self._process.communicate(timeout=END_S)
            assert self._process.returncode == 0, stderr
            self._found = json.loads(stdout)
        return self._found

    def end(self) -> None:
        """Kill the program if it still runs."""
        if self._found is None:
            self._process.kill()
            self._process.communicate()


def start_client(
    name: str, cache: Path, gateway: GatewayProcess, wanted: tuple[str, ...], **variables: str
) -> Sightings:
    """Start the program of one of `CLIENTS`, which runs the scenarios that are wanted one by one."""
    env = {
        **gateway.place.env,
        "GATEWAY_URL": gateway.base_url,
        "GATEWAY_KEY": API_KEY,
        "SIM_URL": gateway.sim.base_url,
        **variables,
    }
    command, more = _node_program(cache, gateway.place) if name == NPM else _python_program(name, cache)
    process = Popen(
        [*command, *wanted], cwd=gateway.place.directory, env={**env, **more}, stdout=PIPE, stderr=PIPE, text=True
    )
    return Sightings(name, process)


def _python_program(name: str, cache: Path) -> tuple[list[str], dict[str, str]]:
    if name == CURL:
        return [sys.executable, "-m", "support.curl_program"], {"PYTHONPATH": str(TESTS)}
    release = release_path(name, cache)
    program = "support.early_gateway_program" if name == BEFORE_1 else "support.gateway_program"
    paths = [*([str(release)] if release else []), str(TESTS)]
    return [sys.executable, "-m", program], {"PYTHONPATH": os.pathsep.join(paths)}


def _node_program(cache: Path, place: Place) -> tuple[list[str], dict[str, str]]:
    """A module finds packages beside itself only, and nothing of that kind is to lie among the tests."""
    package = package_path(cache)
    directory = place.directory / NPM
    if not directory.exists():
        directory.mkdir()
        (directory / "node_modules").symlink_to(package / "node_modules")
        shutil.copy(TESTS / "support" / "gateway_program.mjs", directory)
    asked = {constant: getattr(sightings, constant) for constant in _ASKED}
    return [str(find_node()), str(directory / "gateway_program.mjs")], {"ASKED": json.dumps(asked)}
