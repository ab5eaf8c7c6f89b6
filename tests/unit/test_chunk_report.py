"""What a chunk was and what became of it, in words."""

from __future__ import annotations

import logging

import pytest

from keyfleet_workers.dispatch.chunk_report import ChunkEnd, ChunkReport
from support.chunk_case import take_result


def report(told: list[str], name: str = "questions.jsonl") -> ChunkReport:
    return ChunkReport("gpt-4o-mini", "research-1", lambda _: name, lambda what: told.append(str(what)))


@pytest.mark.parametrize(
    ("ends", "tokens", "text", "has_failures", "has_retries"),
    [
        ({}, 0, "nothing to do", False, False),
        ({"succeeded": 1}, 1234, "1 succeeded, 1,234 tokens", False, False),
        ({"succeeded": 30, "failed": 1, "rate_limited": 1}, 0, None, True, False),
        ({"retried": 2, "split": 3}, 0, "5 went back (2 retried, 3 split)", False, True),
        ({"unreachable": 1, "stopped": 1}, 0, "1 stopped, 1 went back (1 unreachable)", False, True),
    ],
)
def test_its_end_in_words(
    ends: dict[str, int], tokens: int, text: str | None, has_failures: bool, has_retries: bool
) -> None:
    end = ChunkEnd(ends, tokens)
    assert str(end) == (text or "30 succeeded, 1 failed, 1 went back (1 rate limited)")
    assert (end.has_failures, end.has_retries) == (has_failures, has_retries)


def test_lines_that_follow_each_other_are_told_as_a_range_and_others_by_number() -> None:
    told: list[str] = []
    following = report(told)
    following.note(take_result([3, 1, 2]))
    following.note(take_result([9]))
    following.note(take_result(["a-call"]))
    assert told == [
        "gpt-4o-mini, job job (questions.jsonl) lines 1-3",
        "gpt-4o-mini, job job (questions.jsonl) 4 lines of 1-9",
        "gpt-4o-mini, job job (questions.jsonl) 5 requests",
    ]


def test_one_line_is_logged_and_holds_nothing_of_the_requests(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    following = report([])
    following.end()
    following.note(take_result([1]))
    following.counts.add("succeeded", 1)
    following.counts.add_call(7, 0.25)
    following.end()
    (record,) = caplog.records
    assert record.message == "chunk of gpt-4o-mini, job job (questions.jsonl) line 1: 1 succeeded, 7 tokens"
    fields = record.__dict__["fields"]
    assert fields.pop("duration_s") >= 0
    assert fields.pop("provider_s") == 0.25
    assert fields.pop("waited_s") == 0
    assert fields == {
        "event": "chunk",
        "key": "research-1",
        "queue": "gpt-4o-mini",
        "model": "gpt-4o-mini",
        "jobs": [{"id": "job", "name": "questions.jsonl", "requests": 1}],
        "ends": {"succeeded": 1},
        "tokens": 7,
    }
