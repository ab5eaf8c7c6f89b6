"""A directory for one benchmark, removed once the embedded server in it has gone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keyfleet.embedded import EmbeddedServer

__all__ = ["scratch_directory", "state_dir_in"]

SERVER_END_S = 10.0
"""How long an embedded server may take to end after its last user (s)."""


def state_dir_in(directory: Path) -> Path:
    """Where a benchmark's fleet keeps its server."""
    return directory / "state"


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A new directory; a server under `state_dir_in` it is waited for before the directory is removed."""
    with tempfile.TemporaryDirectory(prefix="keyfleet-benchmark-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        try:
            yield directory
        finally:
            socket = EmbeddedServer(state_dir_in(directory)).socket_path
            deadline_s = time.monotonic() + SERVER_END_S
            while socket.exists() and time.monotonic() < deadline_s:
                time.sleep(0.02)
