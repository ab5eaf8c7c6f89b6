"""Tables of the manual, and how words of the code stand in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["NOTHING", "as_code", "quoted", "table"]

NOTHING = "-"
"""Stands in a cell where there is nothing to say."""

_TECHNICAL = re.compile(
    r"(?<![`\w-])(?:"
    r"[^\s`,;()]*[$/%][^\s`,;()]*[^\s`,;().:]"  # addresses, limits and what stands in for a secret
    r"|\d[\d.]*(?:%|[A-Za-z]+)"  # amounts, durations, sizes and shares
    r"|--[a-z-]+|KEYFLEET_\w+"
    r"|[A-Z]+(?:_[A-Z]+)+\*?…?"
    r")(?![`\w])"
)


def as_code(*names: str) -> str:
    """Names in backticks, with commas between."""
    return ", ".join(f"`{name}`" for name in names)


def quoted(text: str) -> str:
    """`text` with what are values, variables and addresses in backticks, unless they stand in some already."""
    return "`".join(
        part if number % 2 else _TECHNICAL.sub(lambda match: as_code(match[0]), part)
        for number, part in enumerate(text.split("`"))
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a bar within a cell is escaped."""
    first, *others = ("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in (head, *rows))
    return "\n".join([first, "|---" * len(head) + "|", *others, ""])
