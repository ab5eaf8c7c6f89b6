"""An interpreter that has LiteLLM and its proxy: an environment of the benchmark's own, made once and kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["litellm_python"]


def litellm_python() -> Path | None:
    """The interpreter, from a kept environment under the user's cache; None, with a word why, where it can't be had."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = cache / "keyfleet-benchmarks" / f"litellm-{sys.version_info.major}.{sys.version_info.minor}"
    python = directory / "bin" / "python"
    if version := _version(python):
        print(f"LiteLLM {version}", flush=True)
        return python
    print(f"installing LiteLLM into {directory}, once", flush=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "litellm[proxy]"]
    if _run([sys.executable, "-m", "venv", str(directory)]) and _run(pip) and (version := _version(python)):
        print(f"LiteLLM {version}", flush=True)
        return python
    print("LiteLLM can't be installed here, so it is left out", flush=True)
    return None


def _version(python: Path) -> str:
    code = "import importlib.metadata; print(importlib.metadata.version('litellm'))"
    try:
        found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return found.stdout.strip()


def _run(command: list[str]) -> bool:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-1000:], flush=True)
    return done.returncode == 0
