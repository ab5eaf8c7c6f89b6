"""Clients that others have written before a real gateway: the official Python package through all its generations, the
official npm package, and curl. Each of them sees the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from keyfleet.sim import SimLimit
from support.events import wait_until
from support.gateway_clients import CLIENTS, CURL, NPM, Sightings, name_of_error, start_client
from support.gateway_process import GatewayProcess, gateway_process
from support.official_releases import BEFORE_1, cache_directory
from support.sightings import WORDS

NOT_FULL = (SimLimit.parse("requests", "2000/1 second"), SimLimit.parse("tokens", "1000000/1 second"))
MODELS = dict.fromkeys(("gpt-4o*", "gpt-3.5*", "text-embedding*", "*moderation*"), NOT_FULL)

TOKENS = ["one", " two", " three", " four", " five"]

WITHOUT_RESPONSES = (BEFORE_1, "1.0.0")
"""Releases that are older than OpenAI's Responses API."""

WITHOUT_ASYNCIO = (NPM, CURL)

SCENARIOS = (
    *("chat_completion", "completions", "embeddings", "responses", "moderations", "models"),
    *("streamed_chat", "streamed_completion", "streamed_response", "asynchronously_streamed_chat"),
    *("begun_chat", "begun_response", "broken_chat", "broken_response", "failed_chat"),
    *("bad_request", "bad_stream", "unknown_model", "wrong_key", "timeout"),
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with gateway_process(tmp_path_factory.mktemp("gateway"), MODELS) as gateway:
        yield gateway


@pytest.fixture(params=CLIENTS)
def seen(request: pytest.FixtureRequest, gateway: GatewayProcess) -> Iterator[Sightings]:
    """What one client has seen. Its program is started for one test only, so that runs in parallel don't repeat it."""
    gateway.sim.reset()
    seen = start_client(request.param, cache_directory(request.config), gateway, SCENARIOS)
    try:
        seen.wait()
        yield seen
    finally:
        seen.end()


def every_endpoint_answers(seen: Sightings) -> None:
    assert seen["chat_completion"] == "hello"
    assert seen["responses"] == (None if seen.name in WITHOUT_RESPONSES else "hello")
    assert seen["moderations"] == [False, True, False]
    assert {"gpt-4o", "text-embedding-3-small"} <= set(seen["models"])


def lists_are_answered_in_their_order(seen: Sightings) -> None:
    texts = [text for text in ("one", "two", "7 8 9", "four") for _ in range(2)]
    assert seen["completions"] == [list(numbered) for numbered in enumerate(texts)]
    embeddings = seen["embeddings"]
    assert embeddings["indices"] == list(range(7))
    assert embeddings["fourth"] == pytest.approx(embeddings["fourth_alone"], abs=1e-6)


def a_stream_brings_every_token(seen: Sightings) -> None:
    assert seen["streamed_chat"] == {"pieces": TOKENS, "completion_tokens": 10}
    assert seen["streamed_completion"] == WORDS
    assert seen["asynchronously_streamed_chat"] == (None if seen.name in WITHOUT_ASYNCIO else WORDS)
    response = {"pieces": TOKENS, "first": "response.created", "last": "response.completed"}
    assert seen["streamed_response"] == (None if seen.name in WITHOUT_RESPONSES else response)


def tokens_are_there_while_the_provider_has_not_ended(seen: Sightings) -> None:
    begun = {"pieces": TOKENS[:2], "in_flight": 1}
    assert seen["begun_chat"] == begun
    assert seen["begun_response"] == (None if seen.name in WITHOUT_RESPONSES else begun)


def a_stream_that_breaks_off_is_an_error(seen: Sightings) -> None:
    error = {"error": name_of_error(seen.name, "APIError"), "code": "stream_broken", "pieces": TOKENS[:2]}
    assert seen["broken_chat"] == error
    assert seen["broken_response"] == (None if seen.name in WITHOUT_RESPONSES else error)
    assert seen["failed_chat"] == {**error, "code": None}, "the provider's own error"


def an_error_has_the_kind_that_the_client_knows(seen: Sightings) -> None:
    def refused(error: str, status: int, code: str) -> dict[str, Any]:
        return {"error": name_of_error(seen.name, error), "status": status, "code": code}

    assert seen["bad_request"] == seen["bad_stream"] == refused("BadRequestError", 400, "invalid_value")
    assert seen["unknown_model"] == refused("NotFoundError", 404, "model_not_found")
    assert seen["wrong_key"] == refused("AuthenticationError", 401, "invalid_api_key")


def what_a_client_gives_up_is_stopped_at_the_provider(seen: Sightings, gateway: GatewayProcess) -> None:
    assert seen["timeout"] == {"error": name_of_error(seen.name, "APITimeoutError")}
    wait_until(lambda: gateway.sim.stats()["in_flight"] == 0, "all calls are over")
    by_status = gateway.sim.stats()["by_status"]
    given_up = {name: by_status.get(name) for name in ("hang", "stall")}
    assert given_up == {"hang": 1, "stall": 1 if seen.name in WITHOUT_RESPONSES else 2}


def test_a_client_works_as_it_is(seen: Sightings, gateway: GatewayProcess) -> None:
    every_endpoint_answers(seen)
    lists_are_answered_in_their_order(seen)
    a_stream_brings_every_token(seen)
    tokens_are_there_while_the_provider_has_not_ended(seen)
    a_stream_that_breaks_off_is_an_error(seen)
    an_error_has_the_kind_that_the_client_knows(seen)
    what_a_client_gives_up_is_stopped_at_the_provider(seen, gateway)
