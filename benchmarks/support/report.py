"""How figures are printed: one line each, with its aim where it has one."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["print_figure", "print_table"]

NAME_COLUMNS = 50


def print_figure(name: str, value: str, aim: str = "", *, met: bool | None = None) -> None:
    """`name  value  (aim: …, met)`."""
    verdict = "" if met is None else ", met" if met else ", MISSED"
    print(f"{name:<{NAME_COLUMNS}}{value}" + (f"  (aim: {aim}{verdict})" if aim else ""), flush=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown, so that it can be kept as it is."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, ["-" * width for width in widths], *rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |", flush=True)
