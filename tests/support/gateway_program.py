"""The official client, release 1.0.0 or later, before a gateway: `python -m support.gateway_program SCENARIO…`.

What it prints is described in `support.sightings`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

import openai as official

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

client: Any = official.OpenAI(base_url=os.environ["GATEWAY_URL"], api_key=os.environ["GATEWAY_KEY"], max_retries=0)


def scenario(function: Scenario) -> Scenario:
    SCENARIOS.append(function)
    return function


def chat(asked: Any, text: str, **more: Any) -> Any:
    message = {"role": "user", "content": text}
    return asked.chat.completions.create(**{"model": CHAT_MODEL, "messages": [message], "max_tokens": 20, **more})


def streamed(text: str, **more: Any) -> Any:
    return chat(client, text, stream=True, **more)


def piece_of(chunk: Any) -> str:
    return (chunk.choices[0].delta.content or "") if chunk.choices else ""


def delta_of(event: Any) -> str:
    return str(event.delta) if event.type == "response.output_text.delta" else ""


def refusal(call: Callable[[], Any]) -> dict[str, Any]:
    """The error, as the gateway wrote it; early releases don't keep its code in the error."""
    try:
        call()
    except official.APIStatusError as error:
        told: Any = error.response.json()
        return {"error": type(error).__name__, "status": error.status_code, "code": told["error"]["code"]}
    raise AssertionError("it was not refused")


def breaking(chunks: Iterable[Any], read: Callable[[Any], str]) -> dict[str, Any]:
    """What came of a stream, and the error that ended it."""
    pieces: list[str] = []
    try:
        pieces.extend(read(chunk) for chunk in chunks)
    except official.APIError as error:
        return {"error": type(error).__name__, "code": error.code, "pieces": [piece for piece in pieces if piece]}
    raise AssertionError("the stream ended as if it were whole")


def begun(stream: Any, read: Callable[[Any], str]) -> dict[str, Any]:
    """The first two tokens, and how many calls are at the provider when they are there; then the stream is left."""
    pieces: list[str] = []
    for chunk in stream:
        if piece := read(chunk):
            pieces.append(piece)
        if len(pieces) == 2:
            break
    found = {"pieces": pieces, "in_flight": in_flight()}
    stream.response.close()
    return found


@scenario
def chat_completion() -> str:
    return str(chat(client, "hello").choices[0].message.content)


@scenario
def completions() -> list[Any]:
    done = client.completions.create(model=TEXT_MODEL, prompt=list(PROMPTS), n=2, max_tokens=4)
    return [[choice.index, choice.text] for choice in done.choices]


@scenario
def embeddings() -> dict[str, Any]:
    done = client.embeddings.create(model=EMBEDDING_MODEL, input=list(INPUTS))
    alone = client.embeddings.create(model=EMBEDDING_MODEL, input=INPUTS[3], encoding_format="float")
    return {
        "indices": [one.index for one in done.data],
        "fourth": done.data[3].embedding,
        "fourth_alone": alone.data[0].embedding,
    }


@scenario
def responses() -> str | None:
    if not hasattr(client, "responses"):
        return None
    return str(client.responses.create(model=CHAT_MODEL, input="hello").output_text)


@scenario
def moderations() -> list[bool]:
    return [result.flagged for result in client.moderations.create(input=["peace", "violence", "peace"]).results]


@scenario
def models() -> list[str]:
    return [model.id for model in client.models.list()]


@scenario
def streamed_chat() -> dict[str, Any]:
    chunks = list(streamed(WORDS, extra_body={"stream_options": {"include_usage": True}}))
    pieces = [piece for piece in map(piece_of, chunks) if piece]
    return {"pieces": pieces, "completion_tokens": chunks[-1].model_dump()["usage"]["completion_tokens"]}


@scenario
def streamed_completion() -> str:
    chunks = client.completions.create(model=TEXT_MODEL, prompt=WORDS, max_tokens=20, stream=True)
    return "".join(chunk.choices[0].text for chunk in chunks)


@scenario
def streamed_response() -> dict[str, Any] | None:
    if not hasattr(client, "responses"):
        return None
    events = list(client.responses.create(model=CHAT_MODEL, input=WORDS, stream=True))
    pieces = [piece for piece in map(delta_of, events) if piece]
    return {"pieces": pieces, "first": events[0].type, "last": events[-1].type}


@scenario
def asynchronously_streamed_chat() -> str:
    async def ask() -> str:
        async with official.AsyncOpenAI(base_url=str(client.base_url), api_key=client.api_key) as asked:
            return "".join([piece_of(chunk) async for chunk in await chat(asked, WORDS, stream=True)])

    return asyncio.run(ask())


@scenario
def begun_chat() -> dict[str, Any]:
    return begun(streamed(f"{WORDS} [[sim:stall]]"), piece_of)


@scenario
def begun_response() -> dict[str, Any] | None:
    if not hasattr(client, "responses"):
        return None
    return begun(client.responses.create(model=CHAT_MODEL, input=f"{WORDS} [[sim:stall]]", stream=True), delta_of)


@scenario
def broken_chat() -> dict[str, Any]:
    return breaking(streamed(f"{WORDS} [[sim:break_off]]"), piece_of)


@scenario
def broken_response() -> dict[str, Any] | None:
    if not hasattr(client, "responses"):
        return None
    events = client.responses.create(model=CHAT_MODEL, input=f"{WORDS} [[sim:break_off]]", stream=True)
    return breaking(events, delta_of)


@scenario
def failed_chat() -> dict[str, Any]:
    return breaking(streamed(f"{WORDS} [[sim:stream_error]]"), piece_of)


@scenario
def bad_request() -> dict[str, Any]:
    return refusal(lambda: chat(client, "[[sim:400]]"))


@scenario
def bad_stream() -> dict[str, Any]:
    return refusal(lambda: streamed("[[sim:400]]"))


@scenario
def unknown_model() -> dict[str, Any]:
    return refusal(lambda: chat(client, "hello", model="nobodys"))


@scenario
def wrong_key() -> dict[str, Any]:
    return refusal(lambda: chat(client.with_options(api_key="wrong"), "hello"))


@scenario
def timeout() -> dict[str, Any]:
    try:
        chat(client, "late [[sim:hang]]", timeout=TIMEOUT_S)
    except official.APITimeoutError as error:
        return {"error": type(error).__name__}
    raise AssertionError("it came back")


@scenario
def used_up() -> dict[str, Any]:
    headers: Any = {}

    def ask() -> None:
        try:
            chat(client, "hello", model=SCARCE_MODEL)
        except official.APIStatusError as error:
            headers.update(error.response.headers)
            raise

    return {**refusal(ask), "retry_after": headers["retry-after"]}


@scenario
def asked_again() -> list[int] | None:
    """The statuses of three calls, of which the last must wait longer than the gateway lets it."""
    if not hasattr(official, "DefaultHttpxClient"):
        return None
    statuses: list[int] = []
    hooks: Any = {"response": [lambda answer: statuses.append(answer.status_code)]}
    with official.DefaultHttpxClient(event_hooks=hooks) as transport:
        patient = client.with_options(http_client=transport, max_retries=1)
        for number in range(3):
            chat(patient, f"call {number}", model=os.environ["QUOTA_MODEL"])
    return statuses


if __name__ == "__main__":
    print_sightings(official.__version__, SCENARIOS)
