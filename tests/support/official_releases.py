"""Releases of the official package, each in a directory of its own: installed once for a checkout."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

__all__ = ["BEFORE_1", "LATE_1", "NEWEST", "RELEASES", "cache_directory", "once", "release_path"]

NEWEST = "newest"
"""The release that the tests' own environment has."""

RELEASES: dict[str, tuple[str, ...]] = {
    "1.0.0": ("openai==1.0.0", "httpx==0.27.2", "httpcore", "sniffio", "distro", "tqdm"),
    "2.0.0": ("openai==2.0.0", "httpx==0.28.1", "httpcore", "distro", "tqdm"),
    "3.0.0": ("openai==3.0.0", "distro", "tqdm"),
}
"""What each directory holds: the release, and what it needs that the newest one doesn't bring."""

BEFORE_1, LATE_1 = "0.28.1", "1.109.1"
"""Releases that meet a gateway only: the last of the old interface, and the last 1.x."""

_FOR_GATEWAYS: dict[str, tuple[str, ...]] = {
    BEFORE_1: ("openai==0.28.1", "tqdm"),
    LATE_1: ("openai==1.109.1", "httpx==0.28.1", "httpcore", "distro", "tqdm"),
}


def cache_directory(config: pytest.Config) -> Path:
    """Where a checkout keeps what its tests install."""
    cache = config.cache
    assert cache is not None
    return cache.mkdir("openai-releases")


def release_path(release: str, cache: Path) -> Path | None:
    """The directory to put on a child's path; None for the newest release. Fails where it can't be installed."""
    if release == NEWEST:
        return None
    requirements = {**RELEASES, **_FOR_GATEWAYS}[release]
    state = zlib.crc32(" ".join(requirements).encode())  # what it needs may change, and then is installed anew
    return once(cache / f"openai-{release}-{state:08x}", lambda unfinished: _install(requirements, unfinished))


def once(directory: Path, install: Callable[[Path], None]) -> Path:
    """`directory`, which `install` has filled, now or before, for whichever of several processes came first.

    It gets its name at the end, so that half an installation is never taken for a whole one.
    """
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.is_dir():
            unfinished = directory.with_name(f"{directory.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            install(unfinished)
            unfinished.rename(directory)
    return directory


def _install(requirements: tuple[str, ...], directory: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--target", str(directory), *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"these tests need {requirements[0]}, and pip could not install it:\n{done.stderr}")
