"""Loading and calling Lua scripts that run inside Redis.

A script is one file, or several joined where files share functions. A line `-- flags: allow-oom` in the head of a file
becomes the script's `#!lua flags=` line: scripts that free memory must run even when the server is full.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

import redis

__all__ = ["Script", "load_source"]

_FLAGS = re.compile(r"^-- flags: ([a-z,-]+)$", re.MULTILINE)


def load_source(*paths: tuple[str, str], declare_flags: bool = True) -> str:
    """Join the Lua files at `paths`, each a (package, file name) pair, into one script.

    `declare_flags=False` leaves out the `#!lua` line, which servers before Redis 7 don't know.
    """
    text = "\n".join(files(package).joinpath(name).read_text(encoding="utf-8") for package, name in paths)
    flags = sorted({flag for found in _FLAGS.findall(text) for flag in found.split(",")})
    return f"#!lua flags={','.join(flags)}\n{text}" if flags and declare_flags else text


class Script:
    """A script registered with one client; calling it sends EVALSHA, and EVAL where the server has forgotten it."""

    def __init__(self, client: redis.Redis, source: str) -> None:
        self._evaluate: Callable[..., Any] = client.execute_command
        self._script = client.register_script(source)

    def __call__(self, keys: Sequence[str], args: Sequence[Any], client: Any = None) -> Any:
        """Run the script; with a pipeline as `client`, only queue it there."""
        if client is None:
            try:  # what redis-py's own call comes to, without its layers, which took a sixth of the client's time
                return self._evaluate("EVALSHA", self._script.sha, len(keys), *keys, *args)
            except redis.exceptions.NoScriptError:
                pass
        return self._script(keys=list(keys), args=list(args), client=client)
