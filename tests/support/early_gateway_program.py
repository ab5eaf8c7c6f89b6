"""The official client of the old interface, with `api_base`: `python -m support.early_gateway_program SCENARIO…`.

What it prints is described in `support.sightings`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

import openai

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

official: Any = openai
official.api_base = os.environ["GATEWAY_URL"]
official.api_key = os.environ["GATEWAY_KEY"]


def scenario(function: Scenario) -> Scenario:
    SCENARIOS.append(function)
    return function


def chat(text: str, **more: Any) -> Any:
    message = {"role": "user", "content": text}
    return official.ChatCompletion.create(**{"model": CHAT_MODEL, "messages": [message], "max_tokens": 20, **more})


def piece_of(chunk: Any) -> str:
    return str(chunk["choices"][0]["delta"].get("content") or "") if chunk["choices"] else ""


def refusal(call: Callable[[], Any]) -> dict[str, Any]:
    try:
        call()
    except official.error.OpenAIError as error:
        shown = error.json_body["error"]
        return {"error": type(error).__name__, "status": error.http_status, "code": shown["code"]}
    raise AssertionError("it was not refused")


def breaking(chunks: Iterable[Any]) -> dict[str, Any]:
    pieces: list[str] = []
    try:
        pieces.extend(piece_of(chunk) for chunk in chunks)
    except official.error.OpenAIError as error:
        code = error.json_body["error"]["code"]
        return {"error": type(error).__name__, "code": code, "pieces": [piece for piece in pieces if piece]}
    raise AssertionError("the stream ended as if it were whole")


@scenario
def chat_completion() -> str:
    return str(chat("hello").choices[0].message.content)


@scenario
def completions() -> list[Any]:
    done = official.Completion.create(model=TEXT_MODEL, prompt=list(PROMPTS), n=2, max_tokens=4)
    return [[choice.index, choice.text] for choice in done.choices]


@scenario
def embeddings() -> dict[str, Any]:
    """With numbers as text; this release needs numpy for all else."""

    def embed(given: Any) -> Any:
        return official.Embedding.create(model=EMBEDDING_MODEL, input=given, encoding_format="float").data

    done, alone = embed(list(INPUTS)), embed(INPUTS[3])
    return {
        "indices": [one.index for one in done],
        "fourth": done[3].embedding,
        "fourth_alone": alone[0].embedding,
    }


@scenario
def moderations() -> list[bool]:
    return [result.flagged for result in official.Moderation.create(input=["peace", "violence", "peace"]).results]


@scenario
def models() -> list[str]:
    return [model.id for model in official.Model.list().data]


@scenario
def streamed_chat() -> dict[str, Any]:
    chunks = list(chat(WORDS, stream=True, stream_options={"include_usage": True}))
    pieces = [piece for piece in map(piece_of, chunks) if piece]
    return {"pieces": pieces, "completion_tokens": chunks[-1].usage.completion_tokens}


@scenario
def streamed_completion() -> str:
    chunks = official.Completion.create(model=TEXT_MODEL, prompt=WORDS, max_tokens=20, stream=True)
    return "".join(chunk.choices[0].text for chunk in chunks)


@scenario
def asynchronously_streamed_chat() -> str:
    async def ask() -> str:
        messages = [{"role": "user", "content": WORDS}]
        chunks = await official.ChatCompletion.acreate(model=CHAT_MODEL, messages=messages, stream=True)
        return "".join([piece_of(chunk) async for chunk in chunks])

    return asyncio.run(ask())


@scenario
def begun_chat() -> dict[str, Any]:
    pieces: list[str] = []
    with closing(chat(f"{WORDS} [[sim:stall]]", stream=True)) as chunks:
        for chunk in chunks:
            if piece := piece_of(chunk):
                pieces.append(piece)
            if len(pieces) == 2:
                return {"pieces": pieces, "in_flight": in_flight()}
    raise AssertionError("the stream ended")


@scenario
def broken_chat() -> dict[str, Any]:
    return breaking(chat(f"{WORDS} [[sim:break_off]]", stream=True))


@scenario
def failed_chat() -> dict[str, Any]:
    return breaking(chat(f"{WORDS} [[sim:stream_error]]", stream=True))


@scenario
def bad_request() -> dict[str, Any]:
    return refusal(lambda: chat("[[sim:400]]"))


@scenario
def bad_stream() -> dict[str, Any]:
    return refusal(lambda: chat("[[sim:400]]", stream=True))


@scenario
def unknown_model() -> dict[str, Any]:
    return refusal(lambda: chat("hello", model="nobodys"))


@scenario
def wrong_key() -> dict[str, Any]:
    return refusal(lambda: chat("hello", api_key="wrong"))


@scenario
def timeout() -> dict[str, Any]:
    try:
        chat("late [[sim:hang]]", request_timeout=TIMEOUT_S)
    except official.error.Timeout as error:
        return {"error": type(error).__name__}
    raise AssertionError("it came back")


@scenario
def used_up() -> dict[str, Any]:
    headers: Any = {}

    def ask() -> None:
        try:
            chat("hello", model=SCARCE_MODEL)
        except official.error.OpenAIError as error:
            headers.update(error.headers)
            raise

    return {**refusal(ask), "retry_after": headers["retry-after"]}


if __name__ == "__main__":
    print_sightings(official.version.VERSION, SCENARIOS)
