"""Inputs and outputs of a job, as its user sees them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["bare_line", "batch_line", "errors_of", "lines_answered", "rows_of", "write_lines", "written_lines"]

MODEL = "sim-model"


def bare_line(number: int, text: str = "", **fields: Any) -> str:
    """A chat body that says which line it is; `text` may hold a marker for the stand-in."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": f"line {number:05d} {text}"}], "max_tokens": 4}
    return json.dumps({**body, **fields})


def batch_line(number: int, text: str = "", **fields: Any) -> str:
    """The same in OpenAI's Batch format."""
    line = {"custom_id": f"id-{number}", "method": "POST", "url": "/v1/chat/completions"}
    return json.dumps({**line, "body": json.loads(bare_line(number, text, **fields))})


def write_lines(path: Path, lines: Iterable[str]) -> Path:
    """Write a JSONL file."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def rows_of(path: Path) -> list[Any]:
    """Every row of an output. Fails where one is torn."""
    data = path.read_bytes() if path.exists() else b""
    assert not data or data.endswith(b"\n"), f"the last row of {path.name} is torn"
    return [json.loads(line) for line in data.splitlines()]


def lines_answered(path: Path) -> Counter[int]:
    """How often each line of a bare output got an answer that echoes that very line; failed rows don't count."""
    found: Counter[int] = Counter()
    for request, answer, *_ in rows_of(path):
        if isinstance(answer, dict):
            asked = request["messages"][0]["content"]
            assert asked.strip() in answer["choices"][0]["message"]["content"], "an answer stands at another line"
            found[int(asked.split()[1])] += 1
    return found


def errors_of(path: Path) -> list[str]:
    """The texts of all failed rows of a bare output."""
    return [" | ".join(answer) for _, answer, *_ in rows_of(path) if isinstance(answer, list)]


def written_lines(path: Path) -> int:
    """How many whole rows an output has by now; for looking while it is written, when the last may be half there."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
