"""How Flower's table of tasks shows chunks."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["COLUMNS", "format_row"]

COLUMNS = "args,state,result,worker,received,runtime,uuid"
"""What a chunk is stands in its arguments, what became of it in its result."""

_NAMED = re.compile(r"\w+\((['\"])(.*)\1\)", re.DOTALL)
_QUOTED = re.compile(r"(['\"])(.*)\1", re.DOTALL)


def format_row(task: Any) -> Any:
    """A copy of a task of Flower's, as it is shown: how its requests ended always as its result, as plain words."""
    told = str(task.result or task.exception or "")
    found = _NAMED.fullmatch(told) or _QUOTED.fullmatch(told)
    task.result = found.group(2) if found else told
    return task
