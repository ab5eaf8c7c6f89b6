"""Streams that break in the middle, and clients that leave there."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest
import requests

from keyfleet.errors import ConfigurationError
from keyfleet.sim import SimAnswers, SimConfig, SimFaults, SimKey, SimLatency, SimServer, parse_limits

KEYS = (SimKey(name="one", api_key="sk-one", limits=parse_limits(requests=["100/minute"])),)
PROMPT = "one two three four"
LONGER_THAN_ANY_SOCKET_BUFFER = SimAnswers(answer_bytes=2_000_000)
"""Each of its words is a chunk of more than 200 bytes: 70 MB."""


@pytest.fixture
def sim() -> Iterator[SimServer]:
    with SimServer(SimConfig(keys=KEYS)) as server:
        yield server


def begin(sim: SimServer, prompt: str, path: str = "completions", **fields: Any) -> requests.Response:
    """The beginning of a streamed answer."""
    body = {"model": "m", "stream": True, "input" if path == "responses" else "prompt": prompt, **fields}
    headers = {"Authorization": "Bearer sk-one"}
    return requests.post(f"{sim.base_url}/v1/{path}", json=body, headers=headers, timeout=10, stream=True)


def received(answer: requests.Response) -> tuple[str, bool]:
    """What came of a stream, and whether its end came too."""
    parts = []
    try:
        for part in answer.iter_content(None):
            parts.append(part)
    except requests.exceptions.ChunkedEncodingError:
        return b"".join(parts).decode(), False
    return b"".join(parts).decode(), True


def wait_until_over(sim: SimServer) -> dict[str, Any]:
    """Ask until nothing is under way; the test's own time limit ends a wait in vain."""
    while True:
        stats = sim.stats()
        if stats["in_flight"] == 0:
            return stats


def texts_in(received_text: str) -> list[str]:
    blocks = [block.removeprefix("data: ") for block in received_text.split("\n\n") if block.startswith("data: {")]
    return [json.loads(block)["choices"][0]["text"] for block in blocks if "choices" in json.loads(block)]


def test_a_stream_breaks_off_without_its_end(sim: SimServer) -> None:
    text, is_whole = received(begin(sim, f"{PROMPT} [[sim:break_off]]"))
    assert (texts_in(text), is_whole) == (["one", " two"], False)
    stats = wait_until_over(sim)
    assert (stats["by_status"], stats["faults"]) == ({"break_off": 1}, {"break_off": 1})
    assert (stats["answered_bodies"], stats["keys"]["one"]["admitted"]) == (0, 1)
    (seen,) = sim.requests(1)
    assert (seen["streamed"], seen["streamed_tokens"], seen["status"]) == (True, 2, "break_off")


def test_an_error_in_mid_stream_is_the_last_event(sim: SimServer) -> None:
    text, is_whole = received(begin(sim, f"{PROMPT} [[sim:stream_error]]"))
    assert (texts_in(text), is_whole) == (["one", " two"], True)
    last = json.loads(text.rstrip("\n").rsplit("\n\n", 1)[1].removeprefix("data: "))
    assert last["error"]["type"] == "server_error"
    assert set(last["error"]) == {"message", "type", "param", "code"}
    stats = wait_until_over(sim)
    assert (stats["by_status"], stats["answered_bodies"]) == ({"stream_error": 1}, 0)


def test_an_error_in_the_stream_of_a_response_is_a_numbered_event(sim: SimServer) -> None:
    text, is_whole = received(begin(sim, f"{PROMPT} [[sim:stream_error]]", "responses"))
    assert is_whole
    name, data = text.rstrip("\n").rsplit("\n\n", 1)[1].split("\n")
    assert name == "event: error"
    document = json.loads(data.removeprefix("data: "))
    assert (document["type"], document["sequence_number"]) == ("error", 6)
    assert document["error"]["type"] == "server_error"


@pytest.mark.parametrize("path", ["chat/completions", "completions", "responses"])
def test_the_official_client_raises_an_error_in_mid_stream(sim: SimServer, path: str) -> None:
    prompt = f"{PROMPT} [[sim:stream_error]]"
    with openai.OpenAI(base_url=f"{sim.base_url}/v1", api_key="sk-one", max_retries=0) as client:
        stream: Any
        if path == "responses":
            stream = client.responses.create(model="m", input=prompt, stream=True)
        elif path == "completions":
            stream = client.completions.create(model="m", prompt=prompt, stream=True)
        else:
            stream = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": prompt}], stream=True
            )
        assert next(stream)
        with pytest.raises(openai.APIError, match="The server had an error"):
            list(stream)


def test_a_stream_that_stalls_is_silent_until_the_client_leaves(sim: SimServer) -> None:
    answer = begin(sim, f"{PROMPT} [[sim:stall]]")
    parts = answer.iter_content(None)
    text = ""
    while " two" not in text:
        text += next(parts).decode()
    assert sim.stats()["in_flight"] == 1
    answer.close()
    stats = wait_until_over(sim)
    assert (stats["by_status"], stats["answered_bodies"]) == ({"stall": 1}, 0)
    assert sim.requests(1)[0]["streamed_tokens"] == 2


def test_who_leaves_before_the_silence_has_left_a_stall_too() -> None:
    with SimServer(SimConfig(keys=KEYS, latency=SimLatency(token_interval_ms=60_000))) as sim:
        answer = begin(sim, f"{PROMPT} [[sim:stall]]")
        assert next(answer.iter_content(None))
        answer.close()
        assert wait_until_over(sim)["by_status"] == {"stall": 1}


def test_a_stall_ends_without_an_end_after_its_time() -> None:
    with SimServer(SimConfig(keys=KEYS, faults=SimFaults(stall=1, hang_s=0.02))) as sim:
        text, is_whole = received(begin(sim, PROMPT))
        assert (texts_in(text), is_whole) == (["one", " two"], False)
        assert wait_until_over(sim)["by_status"] == {"stall": 1}


@pytest.mark.parametrize(("after_tokens", "expected"), [(0, []), (1, ["one"]), (99, ["one", " two"])])
def test_a_stream_is_struck_after_so_many_tokens_or_all_that_it_has(after_tokens: int, expected: list[str]) -> None:
    with SimServer(SimConfig(keys=KEYS, faults=SimFaults(break_off=1, break_after_tokens=after_tokens))) as sim:
        answer = begin(sim, "one two")
        assert answer.status_code == 200
        text, is_whole = received(answer)
    assert (texts_in(text), is_whole) == (expected, False)


def test_a_counted_marker_breaks_that_body_so_many_times(sim: SimServer) -> None:
    prompt = f"{PROMPT} [[sim:break_offx1]] [[sim:stream_errorx1]]"
    ends = []
    for _ in range(3):
        text, is_whole = received(begin(sim, prompt))
        ends.append((is_whole, text.endswith("data: [DONE]\n\n")))
    assert ends == [(False, False), (True, False), (True, True)]
    assert wait_until_over(sim)["sent_after_success"] == 0


def test_a_call_that_is_not_streamed_meets_the_nearest_fault() -> None:
    with SimServer(SimConfig(keys=KEYS, faults=SimFaults(hang_s=0.02))) as sim:
        assert begin(sim, "[[sim:stream_error]]", stream=False).status_code == 500
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            begin(sim, "[[sim:break_off]]", stream=False).content  # noqa: B018 - reading the body is what fails
        with pytest.raises(requests.ConnectionError, match="without response"):
            begin(sim, "[[sim:stall]]", stream=False)
        assert wait_until_over(sim)["by_status"] == {"500": 1, "cut_off": 1, "hang": 1}


@pytest.mark.parametrize(("marker", "status"), [("500", 500), ("429", 429), ("insufficient_quota", 429)])
def test_errors_come_before_a_stream_begins(sim: SimServer, marker: str, status: int) -> None:
    answer = begin(sim, f"[[sim:{marker}]]")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")
    assert "error" in answer.json()
    assert sim.requests(1)[0]["streamed"] is False


def test_a_streamed_answer_that_is_cut_off_has_a_head_and_no_event(sim: SimServer) -> None:
    answer = begin(sim, "[[sim:cut_off]]")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert received(answer) == ("", False)


def test_a_client_that_leaves_in_mid_stream_stops_it() -> None:
    latency = SimLatency(token_interval_ms=60_000)
    with SimServer(SimConfig(keys=KEYS, latency=latency)) as sim:
        answer = begin(sim, PROMPT)
        parts = answer.iter_content(None)
        while b"one" not in next(parts):
            pass  # the head may come before the first token
        assert sim.stats()["keys"]["one"]["in_flight"] == 1
        answer.close()
        stats = wait_until_over(sim)
        assert (stats["by_status"], stats["answered_bodies"]) == ({"client_left": 1}, 0)
        assert sim.requests(1)[0]["streamed_tokens"] == 1


def test_a_client_that_leaves_before_the_first_token_is_counted_once() -> None:
    with SimServer(SimConfig(keys=KEYS, latency=SimLatency(first_token_ms=60_000))) as sim:
        connection = http.client.HTTPConnection(sim.base_url.removeprefix("http://"), timeout=10)
        body = json.dumps({"model": "m", "prompt": "a", "stream": True})
        connection.request("POST", "/v1/completions", body, {"Authorization": "Bearer sk-one"})
        while sim.stats()["in_flight"] == 0:
            pass  # the request is on its way
        connection.close()
        assert wait_until_over(sim)["by_status"] == {"client_left": 1}
        (seen,) = sim.requests(1)
    assert (seen["streamed"], seen["first_token_s"]) == (False, None)


def test_a_long_stream_leaves_room_for_others_and_ends_with_its_reader() -> None:
    with SimServer(SimConfig(keys=KEYS, answers=LONGER_THAN_ANY_SOCKET_BUFFER)) as sim:
        slow = begin(sim, "slow")
        while sim.stats()["in_flight"] == 0:
            pass  # the request is on its way
        quick = begin(sim, "quick [[sim:break_off]]")
        assert received(quick)[1] is False, "others are served meanwhile"
        slow.close()
        assert wait_until_over(sim)["by_status"] == {"break_off": 1, "client_left": 1}
        seen = {one["status"]: one["streamed_tokens"] for one in sim.requests(2)}
    assert 0 < seen["client_left"] < 250_000


def test_a_stream_taken_whole_is_answered_once() -> None:
    with SimServer(SimConfig(keys=KEYS, answers=SimAnswers(answer_bytes=20_000))) as sim:
        text, is_whole = received(begin(sim, "a"))
        assert is_whole
        assert len("".join(texts_in(text))) == len("a ") + 20_000
        stats = wait_until_over(sim)
    assert (stats["by_status"], stats["answered_bodies"]) == ({"200": 1}, 1)


def test_settings_of_streams_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="first_token_ms: expected a number of 0 or more"):
        SimLatency(first_token_ms=-1)
    with pytest.raises(ConfigurationError, match="token_interval_ms: expected a number of 0 or more"):
        SimLatency(token_interval_ms=cast("float", "soon"))
    with pytest.raises(ConfigurationError, match="break_after_tokens: expected a whole number of 0 or more"):
        SimFaults(break_after_tokens=-1)
    with pytest.raises(ConfigurationError, match="stall: expected a share from 0 to 1"):
        SimFaults(stall=2)
