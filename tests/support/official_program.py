"""Uses the official client through a fleet, and checks what comes of it: `python -m support.official_program`.

It runs in a child process, since a process can import one release of the official package only. It prints a JSON
object: for each check its error, or null. The environment leads to the keys; SIM_URL is where the stand-in answers,
and CALLS_AT_ONCE how many asynchronous calls are made at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai as official
import pytest

from keyfleet import ConfigurationError, Fleet
from keyfleet.openai import AsyncOpenAI, OpenAI
from support.events import wait_until

CHAT_MODEL, TEXT_MODEL, EMBEDDING_MODEL = "gpt-4o-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small"

CALLS_AT_ONCE = int(os.environ.get("CALLS_AT_ONCE", "100"))
TIMEOUT_S = 0.5

Check = Callable[[Any], None]
CHECKS: list[Check] = []


def check(function: Check) -> Check:
    CHECKS.append(function)
    return function


def stats() -> Any:
    with urllib.request.urlopen(f"{os.environ['SIM_URL']}/sim/stats") as answer:
        return json.load(answer)


def chat_body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": CHAT_MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 20, **more}


def chat(client: Any, text: str, **more: Any) -> Any:
    return client.chat.completions.create(**chat_body(text, **more))


def shown(error: Any) -> Any:
    """The error as the provider wrote it; early releases don't keep it in the error."""
    return error.response.json()["error"]


def raised(kind: type[BaseException], call: Callable[[], Any]) -> Any:
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind, repr(caught.value)
    return caught.value


@check
def a_chat(client: Any) -> None:
    done = chat(client, "hello", n=2)
    assert type(done) is official.types.chat.ChatCompletion
    assert [choice.message.content for choice in done.choices] == ["hello", "hello"]
    assert done.usage is not None
    assert done.usage.total_tokens == 2 + 20


@check
def completions_with_a_list_of_prompts(client: Any) -> None:
    before = stats()["requests"]
    prompts: list[Any] = ["one", "two", [7, 8, 9], "four"]
    done = client.completions.create(model=TEXT_MODEL, prompt=prompts, n=2, max_tokens=4)
    texts = [text for text in ("one", "two", "7 8 9", "four") for _ in range(2)]
    assert [(choice.index, choice.text) for choice in done.choices] == list(enumerate(texts))
    assert (done.usage.prompt_tokens, done.usage.completion_tokens) == (1 + 1 + 3 + 1, 4 * 2 * 2)
    assert stats()["requests"] - before == len(prompts)


@check
def a_completion_of_one_prompt(client: Any) -> None:
    assert client.completions.create(model=TEXT_MODEL, prompt="once").choices[0].text == "once"
    assert client.completions.create(model=TEXT_MODEL, prompt=[5, 6]).choices[0].text == "5 6"


@check
def embeddings_as_numbers_and_as_base64(client: Any) -> None:
    texts = [f"text {number}" for number in range(7)]
    before = stats()["requests"]
    plain = client.embeddings.create(model=EMBEDDING_MODEL, input=texts, encoding_format="float")
    assert stats()["requests"] - before == 2, "a part for each key"
    default = client.embeddings.create(model=EMBEDDING_MODEL, input=texts)
    assert [one.index for one in plain.data] == [one.index for one in default.data] == list(range(7))
    for one, other in zip(plain.data, default.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    alone = client.embeddings.create(model=EMBEDDING_MODEL, input=texts[5], encoding_format="float")
    assert alone.data[0].embedding == plain.data[5].embedding
    assert plain.usage.prompt_tokens == 7 * 2


@check
def responses(client: Any) -> None:
    if hasattr(client, "responses"):
        assert client.responses.create(model=CHAT_MODEL, input="hello").output_text == "hello"


@check
def moderations(client: Any) -> None:
    done = client.moderations.create(input=["peace", "violence", "peace"])
    assert [result.flagged for result in done.results] == [False, True, False]
    assert done.results[1].categories.violence is True
    assert client.moderations.create(input="violence", model="text-moderation-latest").results[0].flagged


@check
def parse_helpers(client: Any) -> None:
    from pydantic import BaseModel

    class Found(BaseModel):
        word: str
        count: int

    def parsed(parse: Any) -> Any:
        return parse(**chat_body("hello", response_format=Found)).choices[0].message.parsed

    if hasattr(client.chat.completions, "parse"):
        assert parsed(client.chat.completions.parse) == Found(word="hello", count=1)
    elif hasattr(client, "beta") and hasattr(client.beta, "chat"):
        assert parsed(client.beta.chat.completions.parse) == Found(word="hello", count=1)
    if hasattr(getattr(client, "responses", None), "parse"):
        done = client.responses.parse(model=CHAT_MODEL, input="hello", text_format=Found)
        assert done.output_parsed == Found(word="hello", count=1)


@check
def raw_and_streamed_responses(client: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(**chat_body("raw"))
    assert raw.parse().choices[0].message.content == "raw"
    assert raw.headers["x-keyfleet-key"] in ("a", "b")
    assert raw.headers["x-keyfleet-attempts"] == "1"
    assert raw.headers["x-request-id"].startswith("req_")
    if hasattr(client.chat.completions, "with_streaming_response"):
        with client.chat.completions.with_streaming_response.create(**chat_body("streamed")) as streamed:
            assert json.loads(streamed.read())["choices"][0]["message"]["content"] == "streamed"


def text_of(chunk: Any) -> str:
    return (chunk.choices[0].delta.content or "") if chunk.choices else ""


@check
def answers_come_token_by_token(client: Any) -> None:
    chunks = list(chat(client, "one two three four", stream=True))
    assert "".join(map(text_of, chunks)) == "one two three four"
    assert sum(1 for chunk in chunks if text_of(chunk)) > 3
    texts = client.completions.create(model=TEXT_MODEL, prompt="one two", stream=True)
    assert "".join(chunk.choices[0].text for chunk in texts if chunk.choices) == "one two"
    if hasattr(client, "responses"):
        events = list(client.responses.create(model=CHAT_MODEL, input="one two", stream=True))
        assert events[-1].type == "response.completed"
        assert events[-1].response.output_text == "one two"


@check
def a_stream_that_breaks_off_raises_and_one_that_is_left_is_stopped(client: Any) -> None:
    error = raised(official.APIError, lambda: list(chat(client, "one two three [[sim:break_off]]", stream=True)))
    assert not hasattr(error, "body") or "broke off" in error.body["message"]
    raised(official.APIError, lambda: list(chat(client, "one two three [[sim:stream_error]]", stream=True)))
    stalled = chat(client, "one two three [[sim:stall]]", stream=True)
    next(iter(stalled))
    stalled.response.close()
    wait_until(lambda: stats()["by_status"].get("stall") == 1, "the provider sees its client leave")


@check
def a_timeout_ends_the_call_and_nothing_tries_again(client: Any) -> None:
    text = "late [[sim:hang]]"
    error = raised(official.APITimeoutError, lambda: chat(client, text, timeout=TIMEOUT_S))
    assert "before its time was over" in str(error)
    raised(
        official.APITimeoutError, lambda: chat(client.with_options(timeout=TIMEOUT_S, max_retries=5), f"{text} again")
    )
    assert stats()["faults"]["hang"] == 2


@check
def the_fleet_makes_as_many_attempts_as_the_client_says(client: Any) -> None:
    error = raised(official.InternalServerError, lambda: chat(client.with_options(max_retries=1), "twice [[sim:500]]"))
    assert (error.status_code, shown(error)["type"]) == (500, "server_error")
    assert error.response.headers["x-keyfleet-attempts"] == "2"
    assert stats()["faults"]["500"] == 2
    raised(official.InternalServerError, lambda: chat(client.with_options(max_retries=0), "once [[sim:502]]"))
    assert stats()["faults"]["502"] == 1
    assert chat(client, "in the end [[sim:503x1]]").choices[0].message.content.startswith("in the end")


@check
def errors_are_the_official_ones(client: Any) -> None:
    error = raised(official.BadRequestError, lambda: chat(client, "[[sim:content_policy]]"))
    assert (error.status_code, shown(error)["code"]) == (400, "invalid_prompt")
    raised(official.UnprocessableEntityError, lambda: chat(client, "[[sim:422]]"))
    error = raised(official.BadRequestError, lambda: chat(client, "hello", max_tokens=10_000_000))
    assert shown(error)["code"] == "request_too_large"
    error = raised(official.BadRequestError, lambda: chat(client, "hello [[sim:400]]", stream=True))
    assert shown(error)["code"] == "invalid_value"
    inputs = ["a", "[[sim:400]]"]
    error = raised(official.BadRequestError, lambda: client.embeddings.create(model=EMBEDDING_MODEL, input=inputs))
    assert shown(error)["code"] == "invalid_value"


@check
def what_nobody_serves_is_not_found(client: Any) -> None:
    error = raised(official.NotFoundError, lambda: chat(client, "hello", model="nobodys"))
    assert (shown(error)["code"], shown(error)["param"]) == ("model_not_found", "model")
    assert "gpt-4o*" in str(error)
    error = raised(official.NotFoundError, client.models.list)
    assert shown(error)["code"] == "unsupported_endpoint"


@check
def without_an_answer_the_fleets_own_words_are_raised(client: Any) -> None:
    closed = Fleet()
    closed.close()
    error = raised(official.APIConnectionError, lambda: chat(OpenAI(fleet=closed), "hello"))
    assert str(error) == "the fleet was closed"
    error = raised(official.APIConnectionError, lambda: asyncio.run(chat(AsyncOpenAI(fleet=closed), "hello")))
    assert str(error) == "the fleet was closed"
    error = raised(ConfigurationError, lambda: chat(OpenAI(keys=[]), "hello"))
    assert "expected at least one key" in str(error)
    raised(ConfigurationError, lambda: asyncio.run(chat(AsyncOpenAI(keys=[]), "hello")))


@check
def calls_of_many_threads(client: Any) -> None:
    texts = [f"thread {number}" for number in range(64)]
    with ThreadPoolExecutor(16) as pool:
        done = list(pool.map(lambda text: chat(client, text).choices[0].message.content, texts))
    assert done == texts


@check
def many_asynchronous_calls_at_once(client: Any) -> None:
    async def use() -> None:
        async with AsyncOpenAI() as many:
            texts = [f"call {number}" for number in range(CALLS_AT_ONCE)]
            done = await asyncio.gather(*(chat(many, text) for text in texts))
            assert [one.choices[0].message.content for one in done] == texts
            stream = await chat(many, "one two three", stream=True)
            assert "".join([text_of(chunk) async for chunk in stream]) == "one two three"
            listed = await many.completions.create(model=TEXT_MODEL, prompt=["a", "b"])
            assert [choice.text for choice in listed.choices] == ["a", "b"]
            with pytest.raises(official.APITimeoutError, match="before its time was over"):
                await chat(many.with_options(timeout=TIMEOUT_S), "late [[sim:hang]] once more")
            cancelled = asyncio.ensure_future(chat(many, "given up [[sim:hang]]"))
            await asyncio.sleep(0)
            cancelled.cancel()
            ended = await asyncio.gather(cancelled, return_exceptions=True)
            assert isinstance(ended[0], asyncio.CancelledError)
            assert (await chat(many, "goes on")).choices[0].message.content == "goes on"

    asyncio.run(use())


def main() -> None:
    ends: dict[str, str | None] = {}
    with OpenAI() as client:
        for one in CHECKS:
            try:
                one(client)
                ends[one.__name__] = None
            except Exception:
                ends[one.__name__] = traceback.format_exc()
    json.dump({"release": official.__version__, "ends": ends}, sys.stdout)


if __name__ == "__main__":
    main()
