"""LiteLLM's proxy as a process of its own, as its documentation has it: one deployment for each key, no database."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from benchmarks.support.fleet_run import clean_environment
from benchmarks.support.process_tree import cpu_seconds

__all__ = ["LiteLLMProxy"]

API_KEY = "sk-made-up-0123456789abcdef0123456789abcdef"

START_S = 90.0
LOOK_S = 0.1

_SETTINGS = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
"""Quiet, and without asking the internet for prices."""


class LiteLLMProxy:
    """`python` is the interpreter that has LiteLLM; `directory` takes what it writes. `url` is its base URL."""

    def __init__(self, python: Path, directory: Path, base_url: str, model: str, api_keys: Sequence[str]) -> None:
        deployments = [
            {
                "model_name": model,
                "litellm_params": {"model": f"openai/{model}", "api_base": base_url, "api_key": api_key},
            }
            for api_key in api_keys
        ]
        config = directory / "litellm.yaml"
        config.write_text(json.dumps({"model_list": deployments}), encoding="utf-8")
        self.api_key = API_KEY
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}/v1"
        self._log_path = directory / "litellm.txt"
        command = [str(python.with_name("litellm")), "--config", str(config), "--host", "127.0.0.1"]
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self._port)],
                stdout=log,
                stderr=log,
                cwd=directory,
                env=clean_environment({**_SETTINGS, "LITELLM_MASTER_KEY": API_KEY}),
            )

    def cpu_s(self) -> dict[str, float]:
        """Its processor time by now (s)."""
        return {"proxy": cpu_seconds(self._process.pid)}

    def __enter__(self) -> LiteLLMProxy:
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return self
            time.sleep(LOOK_S)
        self._end()
        raise RuntimeError(f"LiteLLM's proxy did not start: {self._log_path.read_text(errors='replace')[-2000:]}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
