"""What chaos tests assert after every fault fails for each promise that is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from keyfleet.sim import SimProcess
from support import assert_promises_kept, bare_line, write_lines

LINES = 3


class Books:
    """Stands in for a stand-in that saw one call for each line, but for what is `changed`."""

    def __init__(self, *, peak_arrived: int = LINES, **changed: int) -> None:
        limit = {"of": "requests", "amount": LINES, "window_s": 1.0, "peak_arrived": peak_arrived}
        counts = {"sent_after_success": 0, "concurrent_duplicates": 0, "over_limit": 0}
        self._stats: dict[str, Any] = {**counts, **changed, "keys": {"a": {"limits": [limit]}}}

    def stats(self) -> dict[str, Any]:
        return self._stats


def row(number: int, *, fails: bool = False) -> str:
    request = json.loads(bare_line(number))
    answer = {"choices": [{"message": {"content": request["messages"][0]["content"]}}]}
    return json.dumps([request, ["500: it broke"] if fails else answer])


def check(directory: Path, rows: list[str], books: Books, **given: int) -> None:
    assert_promises_kept(cast(SimProcess, books), write_lines(directory / "out.jsonl", rows), LINES, **given)


def whole() -> list[str]:
    return [row(number) for number in range(1, LINES + 1)]


def test_where_all_is_kept_it_passes(tmp_path: Path) -> None:
    check(tmp_path, whole(), Books())
    check(tmp_path, whole(), Books(sent_after_success=1, concurrent_duplicates=1), repeats=2)


@pytest.mark.parametrize(
    ("rows", "books", "repeats", "said"),
    [
        (whole()[1:], Books(), 0, "failed"),
        ([*whole()[1:], row(1, fails=True)], Books(), 0, "it broke"),
        ([*whole(), row(2)], Books(), 0, "failed"),
        ([*whole(), row(2, fails=True)], Books(), 0, "another outcome"),
        (whole(), Books(sent_after_success=1), 0, "1 requests were sent again"),
        (whole(), Books(concurrent_duplicates=3), 2, "3 requests were sent again, 2 may be"),
        (whole(), Books(peak_arrived=LINES + 1), 0, "a: 4 of 3 requests in 1 s"),
        (whole(), Books(over_limit=2), 0, "2 calls were refused"),
    ],
)
def test_what_is_broken_is_said(tmp_path: Path, rows: list[str], books: Books, repeats: int, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check(tmp_path, rows, books, repeats=repeats)
