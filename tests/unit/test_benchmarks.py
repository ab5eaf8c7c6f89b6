"""The benchmarks start, and their arithmetic is right."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = (
    *("quota_use", "flat_memory", "limiter", "throughput", "packing", "call_latency", "gateway"),
    *("metrics_cost", "flower_memory"),
)


@pytest.fixture(autouse=True)
def benchmarks_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no part of the installed package."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_says_how_a_benchmark_is_run(script: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{script}", "--help"]
    answer = subprocess.run(
        command, cwd=ROOT, env={**os.environ}, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert f"python -m benchmarks.{script}" in answer.stdout


def test_a_window_lets_its_amount_start_at_once_and_again_after_each_window() -> None:
    from benchmarks.support.shortest_time import KeyCapacity, shortest_start_s

    keys = [KeyCapacity(((10, 5.0),))]
    assert [shortest_start_s(keys, requests) for requests in (1, 10, 11, 20, 21)] == [0.0, 0.0, 5.0, 5.0, 10.0]


def test_a_limit_of_tokens_counts_in_whole_requests() -> None:
    from benchmarks.support.shortest_time import KeyCapacity, shortest_start_s

    key = KeyCapacity.of([], [(107, 10.0)], 50)
    assert key.started_by(0.0) == 2
    assert shortest_start_s([key], 3) == 10.0


def test_of_two_limits_the_least_counts_at_any_time() -> None:
    from benchmarks.support.shortest_time import KeyCapacity

    key = KeyCapacity.of([(3, 1.0)], [(500, 60.0)], 100)
    assert [key.started_by(at_s) for at_s in (0.0, 0.9, 1.0, 59.0, 60.0)] == [3, 3, 5, 5, 10]


def test_keys_of_different_windows_add_up() -> None:
    from benchmarks.support.shortest_time import KeyCapacity, most_started, shortest_start_s

    keys = [KeyCapacity(((1, 2.0),)), KeyCapacity(((1, 3.0),))]
    assert [most_started(keys, at_s) for at_s in (0.0, 2.0, 3.0, 4.0, 6.0)] == [2, 3, 4, 5, 7]
    assert [shortest_start_s(keys, requests) for requests in (2, 3, 4, 5, 6, 7)] == [0.0, 2.0, 3.0, 4.0, 6.0, 6.0]


def test_multiples_of_a_fraction_of_a_second_are_not_lost_to_rounding() -> None:
    from benchmarks.support.shortest_time import KeyCapacity, shortest_start_s

    key = KeyCapacity(((1, 0.1),))
    assert shortest_start_s([key], 31) == pytest.approx(3.0)


def test_a_limit_below_the_cost_of_one_request_has_no_shortest_time() -> None:
    from benchmarks.support.shortest_time import KeyCapacity, shortest_start_s

    with pytest.raises(ValueError, match="admits no request"):
        shortest_start_s([KeyCapacity.of([], [(40, 10.0)], 50)], 1)


def test_the_fullest_window_is_half_open() -> None:
    from benchmarks.support.overshoot import fullest_window

    assert fullest_window([(0.0, 4), (1.0, 3), (2.0, 5)], 2.0) == 8
    assert fullest_window([(0.0, 4), (1.0, 3), (1.999, 5)], 2.0) == 12
    assert fullest_window([], 2.0) == 0


def test_a_process_is_named_by_its_command_line_and_its_parent() -> None:
    from benchmarks.support.process_tree import role_of

    assert role_of(["python", "-m", "keyfleet", "run", "in.jsonl"], None) == "producer"
    assert role_of(["python", "-m", "keyfleet", "worker", "--all"], "producer") == "supervisor"
    assert role_of(["[celeryd:", "key-1@host", "worker", "--all"], "supervisor") == "worker"
    assert role_of(["python", "-S", "/x/embedded/guardian.py", "/x/users.lock"], "producer") == "guardian"
    assert role_of(["valkey-server", "unixsocket:/x"], "guardian") == "server"


def test_lines_differ_and_have_equal_length() -> None:
    from benchmarks.support.files import RequestShape

    prompts = [RequestShape().prompt(number) for number in (1, 999, 999_999)]
    assert len(set(prompts)) == 3
    assert len({len(prompt) for prompt in prompts}) == 1


def test_the_stand_in_is_set_to_charge_exactly_what_is_reserved() -> None:
    from benchmarks.support.files import RequestShape

    from keyfleet.sim import SimAnswers
    from keyfleet.sim.prompts import read_request

    shape = RequestShape()
    body = json.dumps(shape.body(7)).encode()
    for reserved in (20, 48, 77):
        answers = SimAnswers(bytes_per_token=shape.bytes_per_token(reserved))
        assert read_request("chat/completions", body, answers).cost_tokens == reserved


def test_what_is_added_is_the_median_of_the_rounds_differences() -> None:
    from benchmarks.gateway import added_ms, percentile

    assert added_ms([60.0, 900.0, 57.0], [50.0, 800.0, 51.0]) == 10.0
    assert [percentile(range(1, 201), percent) for percent in (0, 50, 99)] == [1, 101, 199]
    assert percentile([3.0], 99) == 3.0


@pytest.mark.parametrize(
    ("pieces", "has_token"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-", b"Length: 4\r\n\r\nab", b"cd"], False),
        ([b'HTTP/1.1 200 OK\r\n\r\n4\r\n"content":""', b'"content":"t"', b"\r\n0\r\n\r\n"], True),
    ],
)
def test_a_caller_begins_its_next_call_when_an_answer_is_whole(pieces: list[bytes], has_token: bool) -> None:
    from benchmarks.support.http_load import HttpCaller
    from benchmarks.support.load import Load, Recorder

    class Transport(asyncio.Transport):
        written: ClassVar[list[bytes]] = []

        def write(self, data: bytes | bytearray | memoryview) -> None:
            self.written.append(bytes(data))

    async def answer() -> None:
        recorder = Recorder(Load(1, 60.0, "{}", warm_up_s=0.0, is_stream=True))
        caller = HttpCaller(b"request", recorder)
        caller.connection_made(Transport())
        for piece in pieces:
            assert (recorder.report.calls, len(Transport.written)) == (0, 1)
            caller.data_received(piece)
        assert (recorder.report.calls, len(Transport.written)) == (1, 2)
        assert len(recorder.report.first_ms) == has_token

    asyncio.run(answer())
    Transport.written.clear()
