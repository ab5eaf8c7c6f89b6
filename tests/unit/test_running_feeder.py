"""The feeder: keeps the window full, lets other models pass a full one, and skips what needs nothing."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from keyfleet.batch.formats import Row
from keyfleet.batch.lines import InputLine, open_input
from keyfleet.batch.parse import LineFormat, LineParser
from keyfleet.contract import Request
from keyfleet.errors import InvalidRequest
from keyfleet.running.accepting import Acceptor
from keyfleet.running.admission import Admission
from keyfleet.running.feeder import ASIDE_BYTES, Feeder
from keyfleet.running.window import OpenRequest, Window
from support.events import wait_until


def body(model: str, **more: Any) -> str:
    return json.dumps({"model": model, "prompt": "p", "max_tokens": 1, **more})


class Ledger:
    """Stands for the acceptor: takes note of what is accepted, or refuses as an acceptor that was stopped does."""

    def __init__(self) -> None:
        self.accepted: list[tuple[str, str]] = []
        self.is_stopped = False
        self.accepted_when_told: list[int] = []

    def about_to_accept(self) -> None:
        self.accepted_when_told.append(len(self.accepted))

    def accept(self, queue: str, requests: Sequence[Request]) -> bool:
        if not self.is_stopped:
            self.accepted += [(queue, request.id) for request in requests]
        return not self.is_stopped

    def ids(self, queue: str | None = None) -> list[int]:
        return [int(request_id) for name, request_id in self.accepted if queue in (None, name)]


class Wanted:
    """The lines without a row."""

    def __init__(self) -> None:
        self.written: set[int] = set()

    def wants(self, line_number: int) -> bool:
        return line_number not in self.written


class Case:
    """A feeder of one file, and what it leads to."""

    def __init__(self, path: Path, texts: Sequence[str], *, requests: int = 1000) -> None:
        data = "".join(f"{text}\n" for text in texts).encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        self.lines = open_input(str(path))
        self.ledger = Ledger()
        self.window = Window(requests=requests)
        self.wanted = Wanted()
        self.invalid: list[tuple[int, str]] = []
        self.rows: list[Row] = []
        self.lookahead_end: int | None = None
        self.limit_lines: int | None = None
        self.format: LineFormat = "bare"
        self.aside_bytes = ASIDE_BYTES
        self.stopping = threading.Event()
        self._feeder: Feeder | None = None
        self.parser: LineParser | None = None

    def start(self) -> Feeder:
        def on_invalid(line: InputLine, error: InvalidRequest) -> None:
            self.invalid.append((line.number, error.code))

        self.parser = LineParser(self.format)
        self._feeder = Feeder(
            self.lines,
            self.parser,
            Admission(None, None),
            cast(Acceptor, self.ledger),
            self.window,
            self.wanted,
            on_invalid=on_invalid,
            on_row=self.rows.append,
            lookahead_end=lambda: self.lookahead_end,
            limit_lines=self.limit_lines,
            stopping=self.stopping,
            aside_bytes=self.aside_bytes,
            before_accept=self.ledger.about_to_accept,
        )
        self._feeder.start()
        return self._feeder

    def run(self) -> Feeder:
        feeder = self.start()
        wait_until(lambda: feeder.is_done or feeder.failure is not None, "the feeder is done")
        if feeder.failure is not None:
            raise feeder.failure
        return feeder

    def end(self) -> None:
        self.stopping.set()
        if self._feeder is not None:
            self._feeder.join(10.0)
        self.lines.close()
        if self.parser is not None:
            self.parser.close()


@pytest.fixture
def cases(tmp_path: Path) -> Iterator[list[Case]]:
    made: list[Case] = []
    yield made
    for case in made:
        case.end()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.jsonl"


def test_every_line_is_accepted_once_under_its_number(cases: list[Case], path: Path) -> None:
    cases.append(case := Case(path, [body("m") for _ in range(700)]))
    case.run()
    assert case.ledger.ids("m") == list(range(1, 701))
    assert len(case.window) == 700


def test_whoever_has_to_make_lines_durable_is_told_before_they_are_accepted(cases: list[Case], path: Path) -> None:
    cases.append(case := Case(path, [body("m") for _ in range(300)]))
    case.run()
    assert case.ledger.accepted_when_told[0] == 0
    assert max(case.ledger.accepted_when_told) < 300
    assert len(case.ledger.accepted_when_told) >= 3


def test_no_more_is_read_than_may_be_set_aside(cases: list[Case], path: Path) -> None:
    cases.append(case := Case(path, [body("m") for _ in range(5000)], requests=4))
    case.aside_bytes = 24 * 100
    feeder = case.start()
    wait_until(lambda: feeder.set_aside > 100, "lines are set aside")
    assert feeder.fed.line_number <= 4 + 100 + 2 * 256
    for number in range(1, 5):
        case.window.remove(str(number))
    wait_until(lambda: case.ledger.ids() == list(range(1, 9)), "it goes on as there is room")


def test_a_model_name_becomes_a_queue_name_that_redis_can_not_misread(cases: list[Case], path: Path) -> None:
    cases.append(case := Case(path, [body("org/m:1")]))
    case.run()
    assert case.ledger.accepted == [("org%2Fm%3A1", "1")]


def test_lines_of_a_full_model_are_set_aside_while_others_pass(cases: list[Case], path: Path) -> None:
    texts = [body("slow") for _ in range(50)] + [body("fast") for _ in range(3)]
    cases.append(case := Case(path, texts, requests=4))
    feeder = case.start()
    wait_until(lambda: len(case.ledger.ids("fast")) == 3, "the other model passes")
    assert case.ledger.ids("slow") == [1, 2, 3, 4]
    wait_until(lambda: feeder.set_aside == 46, "the rest is set aside")
    assert not feeder.is_done


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz"])
def test_lines_set_aside_are_fed_in_their_order_as_room_gets_free(cases: list[Case], tmp_path: Path, name: str) -> None:
    cases.append(case := Case(tmp_path / name, [body("m", user=str(n)) for n in range(60)], requests=4))
    feeder = case.start()
    for number in range(1, 61):
        wait_until(lambda: str(number) in case.window, f"line {number} is accepted")  # noqa: B023 # asked at once
        case.window.remove(str(number))
    wait_until(lambda: feeder.is_done, "the feeder is done")
    assert case.ledger.ids("m") == list(range(1, 61))


def test_a_model_named_in_the_metadata_leads_no_line_astray(cases: list[Case], path: Path) -> None:
    misleading = json.dumps({"metadata": {"model": "other"}, "model": "m", "prompt": "p", "max_tokens": 1})
    cases.append(case := Case(path, [body("other"), misleading], requests=1))
    case.start()
    wait_until(lambda: case.ledger.ids("other") == [1], "the first line is accepted")
    case.window.remove("1")
    wait_until(lambda: case.ledger.ids("m") == [2], "the misleading line is accepted in its own queue")


def test_a_line_behind_the_lookahead_of_an_ordered_output_waits(cases: list[Case], path: Path) -> None:
    cases.append(case := Case(path, [body("m") for _ in range(10)]))
    case.lookahead_end = 4
    feeder = case.start()
    wait_until(lambda: len(case.ledger.accepted) == 3, "the lines before the end are accepted")
    assert feeder.fed.line_number == 3
    assert not feeder.is_done
    case.lookahead_end = 1000
    wait_until(lambda: feeder.is_done, "the feeder is done")
    assert case.ledger.ids() == list(range(1, 11))


def test_a_wrong_line_is_reported_and_the_others_go_on(cases: list[Case], path: Path) -> None:
    cases.append(case := Case(path, [body("m"), "no JSON", '["m"]', body("m", stream=True), body("m")]))
    case.run()
    assert case.invalid == [(2, "invalid_json"), (3, "invalid_json"), (4, "stream_not_supported")]
    assert case.ledger.ids() == [1, 5]


def test_a_blank_line_needs_no_outcome_but_has_its_place(cases: list[Case], path: Path) -> None:
    cases.append(case := Case(path, [body("m"), "  ", body("m")]))
    case.run()
    assert [(row.line_number, row.data) for row in case.rows] == [(2, b"")]
    assert case.ledger.ids() == [1, 3]


def test_on_resume_lines_that_are_written_or_under_way_are_not_fed(cases: list[Case], path: Path) -> None:
    cases.append(case := Case(path, [body("m") for _ in range(5)]))
    case.wanted.written = {1, 4}
    case.window.add("2", OpenRequest("m", 0))
    case.run()
    assert case.ledger.ids() == [3, 5]


def test_the_custom_id_of_a_written_line_stays_taken(cases: list[Case], path: Path) -> None:
    inner = {"model": "m", "prompt": "p", "max_tokens": 1}
    line = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": inner})
    cases.append(case := Case(path, [line, line]))
    case.format = "batch"
    case.wanted.written = {1}
    case.run()
    assert case.invalid == [(2, "duplicate_custom_id")]
    assert case.ledger.accepted == []


def test_only_the_first_lines_are_fed_where_a_limit_is_set(cases: list[Case], path: Path) -> None:
    cases.append(case := Case(path, [body("m") for _ in range(10)]))
    case.limit_lines = 3
    feeder = case.run()
    assert case.ledger.ids() == [1, 2, 3]
    with open_input(str(path)) as again:
        for _ in range(3):
            next(again)
        assert feeder.fed == again.fingerprint_at()


def test_the_fed_position_is_that_of_the_whole_input_at_its_end(cases: list[Case], path: Path) -> None:
    cases.append(case := Case(path, [body("m"), "", body("m")]))
    feeder = case.run()
    assert (feeder.fed.line_number, feeder.fed.offset) == (3, path.stat().st_size)


@pytest.mark.parametrize("name", ["in.jsonl", "in.jsonl.gz"])
def test_a_line_that_was_lost_is_fed_again(cases: list[Case], tmp_path: Path, name: str) -> None:
    cases.append(case := Case(tmp_path / name, [body("m") for _ in range(3)]))
    feeder = case.run()
    lost = case.window.remove("2")
    assert lost is not None
    assert lost.line is not None
    feeder.feed_again(lost.queue, lost.line)
    assert not feeder.is_done
    wait_until(lambda: feeder.is_done, "the feeder is done again")
    assert case.ledger.ids() == [1, 2, 3, 2]
    assert "2" in case.window


def test_a_line_that_only_seemed_lost_is_not_fed_again(cases: list[Case], path: Path) -> None:
    cases.append(case := Case(path, [body("m") for _ in range(3)]))
    feeder = case.run()
    lost = [case.window.remove("1"), case.window.remove("2")]
    case.wanted.written.add(1)  # its outcome came after all
    case.window.add("2", cast(Any, lost[1]))  # and this one was found to be under way
    for request in lost:
        assert request is not None
        assert request.line is not None
        feeder.feed_again(request.queue, request.line)
    wait_until(lambda: feeder.is_done, "the feeder is done again")
    assert case.ledger.ids() == [1, 2, 3]


def test_requests_that_were_not_accepted_before_the_end_take_no_room(cases: list[Case], path: Path) -> None:
    cases.append(case := Case(path, [body("m") for _ in range(3)]))
    case.ledger.is_stopped = True
    case.run()
    assert len(case.window) == 0


def test_an_input_that_can_not_be_read_on_is_a_failure(cases: list[Case], tmp_path: Path) -> None:
    name = tmp_path / "in.jsonl.gz"
    cases.append(case := Case(name, [body("m", user=str(n)) for n in range(2000)]))
    whole = name.read_bytes()
    case.lines.close()
    name.write_bytes(whole[: len(whole) // 2])
    case.lines = open_input(str(name))
    feeder = case.start()
    wait_until(lambda: feeder.failure is not None, "the failure shows")
    assert "no complete gzip file" in str(feeder.failure)
