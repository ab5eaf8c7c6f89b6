"""Releases of the official package, each in a directory of its own: installed once for a checkout."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["NEWEST", "RELEASES", "release_path"]

NEWEST = "newest"
"""The release that the tests' own environment has."""

RELEASES: dict[str, tuple[str, ...]] = {
    "1.0.0": ("openai==1.0.0", "httpx==0.28.1", "httpcore", "distro", "tqdm"),
    "2.0.0": ("openai==2.0.0", "httpx==0.28.1", "httpcore", "distro", "tqdm"),
    "3.0.0": ("openai==3.0.0", "distro", "tqdm"),
}
"""What each directory holds: the release, and what it needs that the newest one doesn't bring."""


def release_path(release: str, cache: Path) -> Path | None:
    """The directory to put on a child's path; None for the newest release. Fails where it can't be installed."""
    if release == NEWEST:
        return None
    directory = cache / f"openai-{release}"
    with (cache / f"openai-{release}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.is_dir():
            _install(RELEASES[release], directory)
    return directory


def _install(requirements: tuple[str, ...], directory: Path) -> None:
    """Into a directory that gets its name at the end, so that half an installation is never taken for a whole one."""
    unfinished = directory.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--target", str(unfinished), *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"these tests need {requirements[0]}, and pip could not install it:\n{done.stderr}")
    unfinished.rename(directory)
