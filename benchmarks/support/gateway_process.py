"""The real command, `keyfleet gateway`, with a server and workers of its own, and what its processes cost."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from benchmarks.support.fleet_run import clean_environment
from benchmarks.support.process_tree import ProcessTree, cpu_seconds
from benchmarks.support.scratch import state_dir_in

__all__ = ["GatewayProcess"]

API_KEY = "made-up-gateway"
START_S = 30.0
"""How long it may take to listen, and then to have a process for each key (s)."""

LOOK_S = 0.05


class GatewayProcess:
    """Serves the keys of `keys_path` until it is left; `directory` takes what it writes. `url` is its base URL."""

    def __init__(self, directory: Path, keys_path: Path, *, workers: int) -> None:
        self._workers = workers
        self._log_path = directory / "gateway.txt"
        command = [sys.executable, "-m", "keyfleet", "gateway", "--port", "0", "--keys", str(keys_path)]
        added = {"KEYFLEET_STATE_DIR": str(state_dir_in(directory)), "KEYFLEET_GATEWAY_API_KEYS": API_KEY}
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=clean_environment(added), cwd=directory
            )
        self.api_key = API_KEY
        self.url = ""

    def __enter__(self) -> GatewayProcess:
        try:
            self.url = self._wait_for_address()
            self._roles = self._find_processes()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def cpu_s(self) -> dict[str, float]:
        """Processor time of the processes by now (s), by what they do: gateway, worker, server, others."""
        found: dict[str, float] = {}
        for pid, role in self._roles.items():
            found[role] = found.get(role, 0.0) + cpu_seconds(pid)
        return found

    def _wait_for_address(self) -> str:
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            for word in self._log_path.read_text(errors="replace").split():
                if word.startswith("http://"):
                    return word
            time.sleep(LOOK_S)
        raise RuntimeError(f"the gateway did not start: {self._log_path.read_text(errors='replace')[-2000:]}")

    def _find_processes(self) -> dict[int, str]:
        """Roles by process id, once there is a worker for each key; from then on there are no new ones."""
        tree = ProcessTree(self._process.pid).start()
        deadline_s = time.monotonic() + START_S
        try:
            while len(tree.by_role("worker")) < self._workers:
                if time.monotonic() > deadline_s:
                    raise RuntimeError(f"the gateway has {len(tree.by_role('worker'))} of {self._workers} workers")
                time.sleep(LOOK_S)
        finally:
            tree.stop()
        names = {"producer": "gateway", "worker": "workers", "server": "server"}
        return {pid: names.get(one.role, "others") for pid, one in tree.processes.items()}

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait()
