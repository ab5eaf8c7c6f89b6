"""The stand-in answers in OpenAI's shapes."""

from __future__ import annotations

import base64
import http.client
import json
from array import array
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from keyfleet.sim import SimAnswers, SimConfig, SimKey, SimServer, parse_limits

KEYS = (
    SimKey(name="free", api_key="sk-free"),
    SimKey(name="narrow", api_key="sk-narrow", models={"gpt-4o*": parse_limits(requests=["5/minute"])}),
)


@pytest.fixture(scope="module")
def sim() -> Iterator[SimServer]:
    with SimServer(SimConfig(keys=KEYS)) as server:
        yield server


def post(sim: SimServer, path: str, body: Any, key: str = "sk-free") -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(f"{sim.base_url}{path}", json=body, headers=headers, timeout=10)


def chat(sim: SimServer, **fields: Any) -> requests.Response:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a fleet?"}]
    return post(sim, "/v1/chat/completions", {"model": "gpt-4o", "messages": messages} | fields)


def test_a_chat_is_answered_with_one_choice_for_each_n_and_repeats_the_prompt(sim: SimServer) -> None:
    answer = chat(sim, n=2, max_tokens=10).json()
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "gpt-4o"
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "What is a fleet?", "refusal": None}
    # 9 and 16 bytes are 3 and 4 tokens; half of 10 allowed for each of two choices.
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 10, "total_tokens": 17}


def test_only_the_beginning_of_a_long_prompt_is_repeated(sim: SimServer) -> None:
    answer = chat(sim, messages=[{"role": "user", "content": [{"type": "text", "text": "é" * 100}]}]).json()
    assert answer["choices"][0]["message"]["content"] == "é" * 64
    assert answer["usage"]["prompt_tokens"] == 50


def test_a_list_of_prompts_gets_n_choices_for_each_in_order(sim: SimServer) -> None:
    answer = post(sim, "/v1/completions", {"model": "m", "prompt": ["one", "two"], "n": 2}).json()
    assert [choice["text"] for choice in answer["choices"]] == ["one", "one", "two", "two"]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert answer["object"] == "text_completion"


def test_token_ids_as_a_prompt_count_one_token_each(sim: SimServer) -> None:
    answer = post(sim, "/v1/completions", {"model": "m", "prompt": [[1, 2, 3], [4]], "max_tokens": 2}).json()
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}


def test_embeddings_come_in_order_and_depend_on_the_text_alone(sim: SimServer) -> None:
    answer = post(sim, "/v1/embeddings", {"model": "m", "input": ["a", "b", "a"]}).json()
    vectors = [entry["embedding"] for entry in answer["data"]]
    assert [entry["index"] for entry in answer["data"]] == [0, 1, 2]
    assert vectors[0] == vectors[2] != vectors[1]
    assert len(vectors[0]) == 8
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_embeddings_have_the_dimensions_asked_for_and_come_as_base64_on_request(sim: SimServer) -> None:
    body = {"model": "m", "input": "a", "dimensions": 40}
    plain = post(sim, "/v1/embeddings", body).json()["data"][0]["embedding"]
    encoded = post(sim, "/v1/embeddings", body | {"encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert len(plain) == 40
    assert array("f", base64.b64decode(encoded)).tolist() == pytest.approx(plain)


def test_responses_are_answered(sim: SimServer) -> None:
    answer = post(sim, "/v1/responses", {"model": "m", "input": "Hello there", "max_output_tokens": 5}).json()
    assert answer["output"][0]["content"][0]["text"] == "Hello there"
    assert answer["usage"] == {"input_tokens": 3, "output_tokens": 3, "total_tokens": 6}


def test_the_size_of_an_answer_and_its_tokens_are_settable() -> None:
    with SimServer(SimConfig(keys=KEYS, answers=SimAnswers(answer_bytes=50_000, completion_tokens=9))) as sim:
        answer = chat(sim, max_completion_tokens=100).json()
    content = answer["choices"][0]["message"]["content"]
    assert content.startswith("What is a fleet? Lorem ipsum")
    assert len(content) == len("What is a fleet? ") + 50_000
    assert answer["usage"]["completion_tokens"] == 9


def test_models_are_listed_as_far_as_the_key_serves_them(sim: SimServer) -> None:
    headers = {"Authorization": "Bearer sk-narrow"}
    listed = requests.get(f"{sim.base_url}/v1/models", headers=headers, timeout=10).json()
    assert [model["id"] for model in listed["data"]] == ["gpt-4o", "gpt-4o-mini"]
    one = requests.get(f"{sim.base_url}/v1/models/gpt-4o", headers=headers, timeout=10)
    assert (one.status_code, one.json()["id"]) == (200, "gpt-4o")
    other = requests.get(f"{sim.base_url}/v1/models/o1", headers=headers, timeout=10)
    assert (other.status_code, other.json()["error"]["code"]) == (404, "model_not_found")


def test_a_model_that_a_key_does_not_serve_is_not_found(sim: SimServer) -> None:
    answer = post(sim, "/v1/embeddings", {"model": "ada", "input": "a"}, key="sk-narrow")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": "The model `ada` does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"messages": [{"role": "user", "content": "a"}]}, "you must provide a model parameter"),
        ({"model": "m"}, "Missing required parameter: 'messages'."),
        ({"model": "m", "messages": []}, "Missing required parameter: 'messages'."),
        ({"model": "m", "messages": "a"}, "expected a text or a list"),
        ({"model": "m", "messages": ["a"]}, "expected an object"),
        ({"model": "m", "messages": [{}], "n": "two"}, "Invalid type for 'n'"),
        (["not", "an", "object"], "could not parse the JSON body"),
    ],
)
def test_a_body_that_makes_no_sense_is_an_invalid_request(sim: SimServer, body: Any, message: str) -> None:
    answer = post(sim, "/v1/chat/completions", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert message in answer.json()["error"]["message"]


def test_addresses_that_nobody_serves_are_refused(sim: SimServer) -> None:
    assert post(sim, "/v1/images", {}).status_code == 404
    assert requests.get(f"{sim.base_url}/v1/embeddings", timeout=10).status_code == 405


def test_one_connection_serves_many_requests_and_closes_when_asked(sim: SimServer) -> None:
    connection = http.client.HTTPConnection(sim.base_url.removeprefix("http://"), timeout=10)
    headers = {"Authorization": "Bearer sk-free"}
    body = json.dumps({"model": "m", "input": "x" * 3_000_000})
    connection.request("POST", "/v1/embeddings", body, headers)
    sock = connection.sock
    first = connection.getresponse()
    assert json.loads(first.read())["usage"]["prompt_tokens"] == 750_000
    connection.request("POST", "/v1/embeddings", body, headers | {"Connection": "close"})
    assert connection.sock is sock
    second = connection.getresponse()
    second.read()
    assert sock.recv(1) == b""
    connection.close()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"POST /v1/embeddings HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        (b"POST /v1/embeddings HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431),
    ],
)
def test_a_request_that_is_no_http_is_refused_and_the_connection_closed(
    sim: SimServer, head: bytes, status: int
) -> None:
    connection = http.client.HTTPConnection(sim.base_url.removeprefix("http://"), timeout=10)
    connection.connect()
    connection.sock.sendall(head)
    answer = connection.sock.makefile("rb").read()
    connection.close()
    assert answer.startswith(b"HTTP/1.1 %d " % status)


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(sim: SimServer) -> None:
    connection = http.client.HTTPConnection(sim.base_url.removeprefix("http://"), timeout=10)
    connection.connect()
    body = b'{"model": "m", "input": "a"}'
    head = b"POST /v1/embeddings HTTP/1.1\r\nAuthorization: Bearer sk-free\r\n"
    head += b"Expect: 100-continue\r\nConnection: close\r\n"
    connection.sock.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body))
    with connection.sock.makefile("rb") as stream:
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
        connection.sock.sendall(body)
        assert stream.read().startswith(b"\r\nHTTP/1.1 200 OK")
    connection.close()
