"""Who else may read a file with secrets in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["others_may_read"]


def others_may_read(path: Path) -> bool:
    """Whether more accounts of this machine may read the file at `path` than have to. Raises OSError.

    A file of another owner that only a group may read was shared on purpose: with those who run this program. One
    that is mounted by itself is how containers get secrets: its permissions are the engine's choice, the directory it
    lies in on the host protects it, and with `chmod 600` nobody could read it here.
    """
    if os.name != "posix" or os.path.ismount(path):
        return False
    found = path.stat()
    kept_from = stat.S_IROTH if found.st_uid != os.geteuid() else stat.S_IROTH | stat.S_IRGRP
    return bool(found.st_mode & kept_from)
