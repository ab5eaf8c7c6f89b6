"""A load generator as a child process: orders go down its standard input, reports come up its output."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO

from benchmarks.support.fleet_run import clean_environment
from benchmarks.support.load import Load, LoadReport

__all__ = ["LoadProcess"]

ROOT = Path(__file__).parents[2]


class LoadProcess:
    """Starts the child at once. `log` takes its words."""

    def __init__(self, command: Sequence[str], log: IO[bytes]) -> None:
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=clean_environment({"PYTHONPATH": str(ROOT)}),
        )

    @classmethod
    def of_http(cls, url: str, api_key: str, log: IO[bytes]) -> LoadProcess:
        """Callers of the server at `url`."""
        return cls([sys.executable, "-m", "benchmarks.support.http_load", url, api_key], log)

    @classmethod
    def of_router(cls, python: Path, base_url: str, model: str, api_keys: Sequence[str], log: IO[bytes]) -> LoadProcess:
        """Callers of LiteLLM's router over the provider at `base_url`; `python` is the interpreter that has it."""
        script = Path(__file__).with_name("router_load.py")
        return cls([str(python), str(script), base_url, model, *api_keys], log)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    def run(self, load: Load) -> LoadReport:
        """Carry one load out. Raises RuntimeError where the child ends, or no call went well."""
        if self._child.stdin is None or self._child.stdout is None:
            raise RuntimeError("the child's pipes are missing")
        self._child.stdin.write(json.dumps(asdict(load)) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._child.args!r} ended with {self._child.wait()}")
        report = LoadReport(**json.loads(line))
        if not report.times_ms:
            raise RuntimeError(f"{self._child.args!r}: no call was measured, {report.failed} failed")
        return report

    def __enter__(self) -> LoadProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child.stdin is not None:
            self._child.stdin.close()
        self._child.terminate()
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()
