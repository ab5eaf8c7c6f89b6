"""The stand-in streams answers as OpenAI does, so that its official client reads them."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests

from keyfleet.sim import SimAnswers, SimConfig, SimKey, SimLatency, SimServer, parse_limits
from keyfleet.sim.streamed_answers import pieces_of

PROMPT = "What is  a fleet?\nMany ships. "
KEYS = (
    SimKey(name="free", api_key="sk-free"),
    SimKey(name="narrow", api_key="sk-narrow", limits=parse_limits(requests=["9/minute"], tokens=["1000/minute"])),
    SimKey(name="azure", api_key="sk-azure", flavour="azure"),
)
ENDPOINTS: dict[str, dict[str, Any]] = {
    "completions": {"prompt": PROMPT},
    "chat/completions": {"messages": [{"role": "user", "content": PROMPT}]},
    "responses": {"input": PROMPT},
}
every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS)


@pytest.fixture(scope="module")
def sim() -> Iterator[SimServer]:
    with SimServer(SimConfig(keys=KEYS, answers=SimAnswers(answer_bytes=300))) as server:
        yield server


@pytest.fixture
def client(sim: SimServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{sim.base_url}/v1", api_key="sk-free", max_retries=0) as made:
        yield made


def post(sim: SimServer, endpoint: str, key: str = "sk-free", **fields: Any) -> requests.Response:
    body = {"model": "m", **ENDPOINTS[endpoint], **fields}
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(f"{sim.base_url}/v1/{endpoint}", json=body, headers=headers, timeout=10)


def events(answer: requests.Response) -> list[tuple[str | None, Any]]:
    """Name and document of each event; `[DONE]` as it stands."""
    assert answer.status_code == 200, answer.text
    assert answer.text.endswith("\n\n")
    found = []
    for block in answer.text[:-2].split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        assert set(fields) <= {"event", "data"}
        data = fields["data"]
        found.append((fields.get("event"), data if data == "[DONE]" else json.loads(data)))
    return found


def chunks(answer: requests.Response) -> list[Any]:
    found = [document for _, document in events(answer)]
    assert found.pop() == "[DONE]"
    return found


def text_of(endpoint: str, document: Any) -> str:
    if endpoint == "responses":
        text = document["output"][0]["content"][0]["text"]
    else:
        choice = document["choices"][0]
        text = choice["message"]["content"] if endpoint == "chat/completions" else choice["text"]
    assert isinstance(text, str)
    return text


def test_a_chat_begins_with_the_role_and_ends_with_the_reason(sim: SimServer) -> None:
    found = chunks(post(sim, "chat/completions", stream=True))
    choices = [chunk["choices"][0] for chunk in found]
    assert choices[0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [set(choice["delta"]) for choice in choices[1:-1]] == [{"content"}] * (len(choices) - 2)
    assert (choices[-1]["delta"], choices[-1]["finish_reason"]) == ({}, "stop")
    assert {choice["finish_reason"] for choice in choices[:-1]} == {None}
    assert {chunk["object"] for chunk in found} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in found}) == 1
    assert found[0]["id"].startswith("chatcmpl-")
    assert all("usage" not in chunk for chunk in found)


def test_a_completion_ends_with_an_empty_text_and_the_reason(sim: SimServer) -> None:
    found = chunks(post(sim, "completions", stream=True))
    assert {chunk["object"] for chunk in found} == {"text_completion"}
    assert {choice["finish_reason"] for chunk in found[:-1] for choice in chunk["choices"]} == {None}
    assert found[-1]["choices"] == [{"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}]


def test_the_events_of_a_response_are_typed_and_numbered_in_order(sim: SimServer) -> None:
    whole = post(sim, "responses").json()
    found = events(post(sim, "responses", stream=True))
    names = [name for name, _ in found]
    deltas = len(list(pieces_of(text_of("responses", whole))))
    assert names == [
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
        *["response.output_text.delta"] * deltas,
        *("response.output_text.done", "response.content_part.done", "response.output_item.done"),
        "response.completed",
    ]
    assert [document["type"] for _, document in found] == names
    assert [document["sequence_number"] for _, document in found] == list(range(len(found)))
    first, last = found[0][1]["response"], found[-1][1]["response"]
    assert (first["status"], first["output"], first["usage"]) == ("in_progress", [], None)
    assert (last["status"], last["usage"]) == ("completed", whole["usage"])
    assert last["output"][0]["content"] == whole["output"][0]["content"]
    assert first["id"] == last["id"]
    items = {document["item_id"] for _, document in found if "item_id" in document}
    assert items == {last["output"][0]["id"]}


@every_endpoint
def test_the_pieces_joined_are_the_text_that_is_not_streamed(
    sim: SimServer, client: openai.OpenAI, endpoint: str
) -> None:
    text = text_of(endpoint, post(sim, endpoint).json())
    assert text.startswith(PROMPT + " Lorem")
    if endpoint == "chat/completions":
        messages: Any = ENDPOINTS[endpoint]["messages"]
        chat = client.chat.completions.create(model="m", messages=messages, stream=True)
        joined = "".join(chunk.choices[0].delta.content or "" for chunk in chat)
    elif endpoint == "completions":
        completion = client.completions.create(model="m", prompt=PROMPT, stream=True)
        joined = "".join(chunk.choices[0].text for chunk in completion)
    else:
        response = client.responses.create(model="m", input=PROMPT, stream=True)
        joined = "".join(event.delta for event in response if event.type == "response.output_text.delta")
    assert joined == text


def test_the_official_clients_helpers_put_the_whole_answers_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="m", messages=[{"role": "user", "content": "Hi you"}]) as chat:
        chat.until_done()
        assert str(chat.get_final_completion().choices[0].message.content).startswith("Hi you Lorem")
    with client.responses.stream(model="m", input="Hi you") as response:
        response.until_done()
        final = response.get_final_response()
    assert final.output_text.startswith("Hi you Lorem")
    assert (final.status, final.usage and final.usage.input_tokens) == ("completed", 2)


@pytest.mark.parametrize("endpoint", ["completions", "chat/completions"])
def test_the_usage_comes_last_where_it_is_asked_for(sim: SimServer, endpoint: str) -> None:
    usage = post(sim, endpoint, n=2, max_tokens=10).json()["usage"]
    options = {"include_usage": True, "include_obfuscation": False}
    *earlier, last = chunks(post(sim, endpoint, n=2, max_tokens=10, stream=True, stream_options=options))
    assert (last["choices"], last["usage"]) == ([], usage)
    assert [chunk["usage"] for chunk in earlier] == [None] * len(earlier)


def test_the_official_client_reads_the_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": "four"}],
        max_tokens=10,
        stream=True,
        stream_options={"include_usage": True},
    )
    *earlier, last = stream
    assert {chunk.usage for chunk in earlier} == {None}
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (1, 5)


def test_choices_of_a_list_of_prompts_take_turns_and_bear_their_index(sim: SimServer) -> None:
    with SimServer(SimConfig(keys=KEYS)) as plain:
        found = chunks(post(plain, "completions", prompt=["a b c", "d"], n=2, stream=True))
    choices = [choice for chunk in found for choice in chunk["choices"]]
    texts = [(choice["index"], choice["text"]) for choice in choices if choice["finish_reason"] is None]
    assert texts == [(0, "a"), (1, "a"), (2, "d"), (3, "d"), (0, " b"), (1, " b"), (0, " c"), (1, " c")]
    assert Counter(choice["index"] for choice in choices if choice["finish_reason"] == "stop") == Counter(range(4))


def test_every_choice_of_a_chat_has_a_role_and_a_reason(sim: SimServer) -> None:
    choices = [chunk["choices"][0] for chunk in chunks(post(sim, "chat/completions", n=3, stream=True))]
    assert [choice["index"] for choice in choices if "role" in choice["delta"]] == [0, 1, 2]
    assert [choice["index"] for choice in choices if choice["finish_reason"] == "stop"] == [0, 1, 2]


def test_a_structured_output_is_streamed_as_well(sim: SimServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"properties": {"a": {"type": "string"}}}}}
    found = chunks(post(sim, "chat/completions", response_format=form, stream=True))
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in found)
    assert json.loads(text) == {"a": PROMPT}


@every_endpoint
def test_a_stream_has_the_headers_of_any_answer(sim: SimServer, endpoint: str) -> None:
    headers = post(sim, endpoint, key="sk-narrow", stream=True).headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["transfer-encoding"] == "chunked"
    assert "content-length" not in headers
    assert headers["x-ratelimit-limit-requests"] == "9"
    assert headers["x-request-id"].startswith("req_")
    assert headers["openai-organization"] == "org-narrow"


def test_azure_streams_from_both_of_its_interfaces(sim: SimServer) -> None:
    body = {**ENDPOINTS["chat/completions"], "stream": True}
    for path in ("deployments/gpt-4o/chat/completions?api-version=2024-10-21", "v1/chat/completions"):
        address = f"{sim.base_url}/openai/{path}"
        answer = requests.post(address, json={"model": "m", **body}, headers={"api-key": "sk-azure"}, timeout=10)
        assert chunks(answer)[0]["model"] == ("gpt-4o" if path.startswith("deployments") else "m")


def test_a_connection_serves_other_calls_after_a_stream(sim: SimServer) -> None:
    connection = http.client.HTTPConnection(sim.base_url.removeprefix("http://"), timeout=10)
    socks = []
    for is_streamed in (True, False, True):
        body = json.dumps({"model": "m", "prompt": "a b", "stream": is_streamed})
        connection.request("POST", "/v1/completions", body, {"Authorization": "Bearer sk-free"})
        socks.append(connection.sock)
        assert b"Lorem" in connection.getresponse().read()
    connection.close()
    assert len(set(map(id, socks))) == 1


def test_the_first_token_and_those_after_it_take_the_time_that_is_set() -> None:
    latency = SimLatency(latency_ms=5000, first_token_ms=30, token_interval_ms=20)
    with SimServer(SimConfig(keys=KEYS, latency=latency)) as sim:
        answer = post(sim, "completions", prompt="a b c", stream=True)
        (seen,) = sim.requests(1)
    assert answer.headers["openai-processing-ms"] == "30"
    assert (seen["streamed"], seen["streamed_tokens"], seen["status"]) == (True, 3, "200")
    assert seen["first_token_s"] - seen["arrived_s"] >= 0.03
    assert seen["ended_s"] - seen["arrived_s"] >= 0.069, "two intervals after the first token"


def test_the_first_token_takes_as_long_as_an_answer_unless_set_otherwise() -> None:
    with SimServer(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=30))) as sim:
        assert post(sim, "completions", stream=True).headers["openai-processing-ms"] == "30"
        assert post(sim, "completions").status_code == 200
        seen = sim.requests(2)
    assert seen[0]["first_token_s"] - seen[0]["arrived_s"] >= 0.03
    assert (seen[1]["streamed"], seen[1]["streamed_tokens"], seen[1]["first_token_s"]) == (False, 0, None)


@pytest.mark.parametrize("text", ["", " ", "a", " a  b\n\nc\t ", "naïve\u2003日本 語", "x" * 1000])
def test_the_pieces_of_a_text_joined_are_the_text(text: str) -> None:
    pieces = list(pieces_of(text))
    assert "".join(pieces) == text
    assert all(pieces)
