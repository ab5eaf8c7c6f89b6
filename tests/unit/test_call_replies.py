"""Reading replies: what was read is dropped from the server now and then, and never by a place that it doesn't know."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from keyfleet.broker import ServerWatch
from keyfleet.calls import replies
from keyfleet.calls.book import CallBook
from keyfleet.calls.replies import ReplyReader
from keyfleet.contract import Outcome
from keyfleet.ledger import JobLedger, ProducerWord


class Stream:
    """As a ledger, whose stream has `entries`."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, Outcome]] = []
        self.trimmed: list[str] = []
        self.word = ProducerWord.OPEN

    def add(self, count: int) -> None:
        for _ in range(count):
            number = len(self.entries) + 1
            self.entries.append((f"{number}-0", Outcome(str(number), True, 200, b"{}", 1)))

    def replies(self, after: str, *, count: int, block_ms: int | None) -> list[tuple[str, Outcome]]:
        return [entry for entry in self.entries if int(entry[0].split("-")[0]) > int(after.split("-")[0])][:count]

    def trim(self, through: str) -> None:
        assert through != "0"
        self.trimmed.append(through)

    def say_alive(self) -> ProducerWord:
        return self.word

    def open(self, *, begins: bool) -> None:
        self.word = ProducerWord.OPEN


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def reader(stream: Stream) -> ReplyReader:
    nothing: Any = lambda *_: None  # noqa: E731 - one for all that isn't told here
    return ReplyReader(
        *(cast(JobLedger, stream), CallBook(), ServerWatch(), threading.Event()),
        send_again=nothing,
        on_away=nothing,
        on_cancelled=nothing,
        take_back=nothing,
        tell_read=nothing,
        look=nothing,
    )


def test_answers_are_dropped_when_there_is_a_pause(reader: ReplyReader, stream: Stream) -> None:
    stream.add(3)
    reader.step()
    assert stream.trimmed == []
    reader.step()
    reader.step()
    assert stream.trimmed == ["3-0"]


def test_under_load_they_are_dropped_many_at_once(
    reader: ReplyReader, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "READ_MOST", 60)
    stream.add(150)
    reader.step()
    assert stream.trimmed == []
    reader.step()
    assert stream.trimmed == ["120-0"]


def test_a_server_that_has_lost_them_is_not_asked_to_drop_any(reader: ReplyReader, stream: Stream) -> None:
    stream.add(3)
    reader.step()
    stream.entries.clear()
    stream.word = ProducerWord.UNKNOWN
    reader._speak_due_s = 0.0
    reader.step()
    assert stream.trimmed == []
