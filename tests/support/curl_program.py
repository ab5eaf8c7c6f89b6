"""curl before a gateway: `python -m support.curl_program SCENARIO…`. It prints what `support.sightings` describes.

curl knows no errors of OpenAI's: where others tell the name of one, it tells the `type` in the document.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from support.curl_client import TIMED_OUT, CurlClient, find_curl
from support.sightings import (
    CHAT_MODEL,
    EMBEDDING_MODEL,
    INPUTS,
    PROMPTS,
    SCARCE_MODEL,
    TEXT_MODEL,
    TIMEOUT_S,
    WORDS,
    Scenario,
    in_flight,
    print_sightings,
)

SCENARIOS: list[Scenario] = []

CHAT, RESPONSES = "/chat/completions", "/responses"

client = CurlClient(find_curl(), os.environ["GATEWAY_URL"], os.environ["GATEWAY_KEY"])


def scenario(function: Scenario) -> Scenario:
    SCENARIOS.append(function)
    return function


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": CHAT_MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 20, **more}


def response(text: str) -> dict[str, Any]:
    return {"model": CHAT_MODEL, "input": text, "stream": True}


def good(path: str, body: object = None) -> Any:
    status, _, document = client.ask(path, body)
    assert status == 200, document
    return document


def piece_of(event: dict[str, Any]) -> str:
    """The piece of text in an event of whichever endpoint."""
    if event.get("type") == "response.output_text.delta":
        return str(event["delta"])
    choices = event.get("choices") or [{"delta": {}}]
    return choices[0]["delta"].get("content") or ""


def pieces_in(events: Iterable[dict[str, Any]]) -> list[str]:
    return [piece for piece in map(piece_of, events) if piece]


def refusal(body: dict[str, Any], asked: CurlClient = client) -> dict[str, Any]:
    status, _, document = asked.ask(CHAT, body)
    return {"error": document["error"]["type"], "status": status, "code": document["error"]["code"]}


def breaking(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What comes before the first error, which is where others stop reading."""
    pieces: list[str] = []
    for event in client.events(path, body):
        if error := event.get("error"):
            return {"error": error["type"], "code": error["code"], "pieces": pieces}
        pieces += pieces_in([event])
    raise AssertionError("the stream ended as if it were whole")


def begun(path: str, body: dict[str, Any]) -> dict[str, Any]:
    pieces: list[str] = []
    with closing(client.events(path, body)) as events:
        for event in events:
            pieces += pieces_in([event])
            if len(pieces) == 2:
                return {"pieces": pieces, "in_flight": in_flight()}
    raise AssertionError("the stream ended")


@scenario
def chat_completion() -> str:
    return str(good(CHAT, chat("hello"))["choices"][0]["message"]["content"])


@scenario
def completions() -> list[Any]:
    done = good("/completions", {"model": TEXT_MODEL, "prompt": PROMPTS, "n": 2, "max_tokens": 4})
    return [[choice["index"], choice["text"]] for choice in done["choices"]]


@scenario
def embeddings() -> dict[str, Any]:
    done = good("/embeddings", {"model": EMBEDDING_MODEL, "input": INPUTS})["data"]
    alone = good("/embeddings", {"model": EMBEDDING_MODEL, "input": INPUTS[3]})["data"]
    return {
        "indices": [one["index"] for one in done],
        "fourth": done[3]["embedding"],
        "fourth_alone": alone[0]["embedding"],
    }


@scenario
def responses() -> str:
    done = good(RESPONSES, {"model": CHAT_MODEL, "input": "hello"})
    return str(done["output"][0]["content"][0]["text"])


@scenario
def moderations() -> list[bool]:
    return [one["flagged"] for one in good("/moderations", {"input": ["peace", "violence", "peace"]})["results"]]


@scenario
def models() -> list[str]:
    return [model["id"] for model in good("/models")["data"]]


@scenario
def streamed_chat() -> dict[str, Any]:
    events = list(client.events(CHAT, chat(WORDS, stream=True, stream_options={"include_usage": True})))
    return {"pieces": pieces_in(events), "completion_tokens": events[-1]["usage"]["completion_tokens"]}


@scenario
def streamed_completion() -> str:
    body = {"model": TEXT_MODEL, "prompt": WORDS, "max_tokens": 20, "stream": True}
    return "".join(event["choices"][0]["text"] for event in client.events("/completions", body))


@scenario
def streamed_response() -> dict[str, Any]:
    events = list(client.events(RESPONSES, response(WORDS)))
    return {"pieces": pieces_in(events), "first": events[0]["type"], "last": events[-1]["type"]}


@scenario
def begun_chat() -> dict[str, Any]:
    return begun(CHAT, chat(f"{WORDS} [[sim:stall]]", stream=True))


@scenario
def begun_response() -> dict[str, Any]:
    return begun(RESPONSES, response(f"{WORDS} [[sim:stall]]"))


@scenario
def broken_chat() -> dict[str, Any]:
    return breaking(CHAT, chat(f"{WORDS} [[sim:break_off]]", stream=True))


@scenario
def broken_response() -> dict[str, Any]:
    return breaking(RESPONSES, response(f"{WORDS} [[sim:break_off]]"))


@scenario
def failed_chat() -> dict[str, Any]:
    return breaking(CHAT, chat(f"{WORDS} [[sim:stream_error]]", stream=True))


@scenario
def bad_request() -> dict[str, Any]:
    return refusal(chat("[[sim:400]]"))


@scenario
def bad_stream() -> dict[str, Any]:
    return refusal(chat("[[sim:400]]", stream=True))


@scenario
def unknown_model() -> dict[str, Any]:
    return refusal(chat("hello", model="nobodys"))


@scenario
def wrong_key() -> dict[str, Any]:
    return refusal(chat("hello"), CurlClient(client.curl, client.base_url, "wrong"))


@scenario
def timeout() -> dict[str, Any]:
    code = client.code(CHAT, chat("late [[sim:hang]]"), "--max-time", str(TIMEOUT_S))
    assert code == TIMED_OUT
    return {"error": "timed out"}


@scenario
def used_up() -> dict[str, Any]:
    status, headers, document = client.ask(CHAT, chat("hello", model=SCARCE_MODEL))
    error = document["error"]
    return {"error": error["type"], "status": status, "code": error["code"], "retry_after": headers["retry-after"]}


if __name__ == "__main__":
    print_sightings("curl", SCENARIOS)
