"""The real command, `keyfleet run`, as a process of its own, watched from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.process_tree import ProcessTree
from benchmarks.support.scratch import state_dir_in

__all__ = ["RunFigures", "clean_environment", "run_fleet", "run_watched"]

KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "TIKTOKEN_CACHE_DIR", "VIRTUAL_ENV", "PYTHONPATH")
"""What a benchmarked process gets of the environment: nothing that could change what the fleet does."""


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run: its time from start to end of the command (s), and what its processes cost."""

    wall_s: float
    tree: ProcessTree
    report: str


def clean_environment(added: Mapping[str, str]) -> dict[str, str]:
    """The environment of a benchmarked process."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {**kept, **added}


def run_watched(
    command: Sequence[str], added: Mapping[str, str], *, cwd: Path, also: Callable[[], None] | None = None
) -> RunFigures:
    """Run a command to its end and sample its processes. Raises RuntimeError with its last words if it fails."""
    report_path = cwd / "report.txt"
    with report_path.open("wb") as report:
        began_s = time.monotonic()
        process = subprocess.Popen(command, stdout=report, stderr=report, env=clean_environment(added), cwd=cwd)
        tree = ProcessTree(process.pid, also).start()
        code = process.wait()
        wall_s = time.monotonic() - began_s
    tree.stop()
    text = report_path.read_text(errors="replace")
    if code != 0:
        raise RuntimeError(f"{command[0]} … ended with {code}: {text[-2000:]}")
    return RunFigures(wall_s, tree, text)


def run_fleet(
    directory: Path,
    input_path: Path,
    keys_path: Path,
    *,
    options: Sequence[str] = (),
    also: Callable[[], None] | None = None,
) -> RunFigures:
    """`keyfleet run` over `input_path` with an embedded server and workers of its own, all under `directory`."""
    command = [sys.executable, "-m", "keyfleet", "run", str(input_path), "--keys", str(keys_path)]
    command += ["-o", str(directory / "results.jsonl"), "--overwrite", "--no-progress", *options]
    return run_watched(command, {"KEYFLEET_STATE_DIR": str(state_dir_in(directory))}, cwd=directory, also=also)
