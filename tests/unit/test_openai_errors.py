"""The fleet's errors as the official client's own."""

from __future__ import annotations

import asyncio
from typing import Any

import openai as official
import pytest

from keyfleet.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DeadlineExceeded,
    FleetClosed,
    InvalidRequest,
    JobCancelled,
    KeyfleetError,
    NoKeyServes,
    ProviderError,
    RequestFailed,
    RequestTooLarge,
)
from keyfleet.openai import AsyncOpenAI, OpenAI
from support.fake_fleet import FakeFleet, Sent, answer

CHAT: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
DOCUMENT = {"error": {"message": "No.", "type": "t", "param": "p", "code": "c"}}


def client_of(error: Exception) -> tuple[OpenAI, FakeFleet]:
    def refuse(sent: Sent) -> Any:
        raise error

    fleet = FakeFleet(refuse)
    return OpenAI(fleet=fleet), fleet


def error_of(error: Exception) -> Any:
    """What the client raises where the fleet raises `error`; it must not have tried again."""
    client, fleet = client_of(error)
    with pytest.raises(official.OpenAIError) as caught:
        client.chat.completions.create(**CHAT)
    assert len(fleet.sent) == 1
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, official.BadRequestError),
        (401, official.AuthenticationError),
        (403, official.PermissionDeniedError),
        (404, official.NotFoundError),
        (408, official.APIStatusError),
        (409, official.ConflictError),
        (422, official.UnprocessableEntityError),
        (429, official.RateLimitError),
        (500, official.InternalServerError),
        (503, official.InternalServerError),
    ],
)
def test_a_final_error_of_the_provider_is_the_official_one_with_its_body(status: int, kind: type[Any]) -> None:
    fleet = FakeFleet(lambda sent: answer(DOCUMENT, status, request_id="req_9", key_name="key-3"))
    with pytest.raises(kind) as caught:
        OpenAI(fleet=fleet).chat.completions.create(**CHAT)
    error = caught.value
    assert (error.status_code, error.code, error.param, error.body) == (status, "c", "p", DOCUMENT["error"])
    assert error.request_id == "req_9"
    assert error.response.headers["x-keyfleet-key"] == "key-3"
    assert len(fleet.sent) == 1


def test_an_error_page_that_is_no_json_is_kept_as_text() -> None:
    def page(sent: Sent) -> Any:
        return type(answer({}))(502, b"<html>Bad gateway</html>")

    with pytest.raises(official.InternalServerError) as caught:
        OpenAI(fleet=FakeFleet(page)).chat.completions.create(**CHAT)
    assert "Bad gateway" in str(caught.value.body)


@pytest.mark.parametrize(
    ("raised", "kind", "code", "param"),
    [
        (
            InvalidRequest("body: wrong", code="invalid_json", field="body"),
            official.BadRequestError,
            "invalid_json",
            "body",
        ),
        (RequestTooLarge("100 tokens too many"), official.BadRequestError, "request_too_large", None),
        (
            NoKeyServes("served are a, b", model="m", served=("a", "b")),
            official.NotFoundError,
            "model_not_found",
            "model",
        ),
        (NoKeyServes("every key is refused", code="keys_refused"), official.AuthenticationError, "keys_refused", None),
    ],
)
def test_what_the_fleet_refuses_is_an_error_in_openais_shape(
    raised: KeyfleetError, kind: type[Any], code: str, param: str | None
) -> None:
    error = error_of(raised)
    assert type(error) is kind
    assert (error.code, error.param, error.type) == (code, param, "invalid_request_error")
    assert str(raised) in str(error)


def test_a_final_error_that_is_raised_is_the_same_as_one_that_is_returned() -> None:
    error = error_of(ProviderError("HTTP 429", status=429, body=DOCUMENT, key_name="k"))
    assert isinstance(error, official.RateLimitError)
    assert error.body == DOCUMENT["error"]


def test_time_that_is_over_is_the_official_timeout_and_says_whether_it_was_sent() -> None:
    error = error_of(DeadlineExceeded("the request could not be started before its time was over"))
    assert isinstance(error, official.APITimeoutError)
    assert str(error) == error.message == "the request could not be started before its time was over"


@pytest.mark.parametrize(
    "raised",
    [
        BrokerUnavailable("no server answers at redis://b"),
        FleetClosed("the fleet was closed"),
        JobCancelled("the call was cancelled"),
        RequestFailed("the answers were lost", code="lost", attempts=3),
    ],
)
def test_where_there_is_no_answer_it_is_a_connection_error_in_our_words(raised: KeyfleetError) -> None:
    error = error_of(raised)
    assert type(error) is official.APIConnectionError
    assert str(error) == str(raised)
    assert error.__cause__ is not None
    assert error.__cause__.__cause__ is raised


def test_a_wrong_configuration_is_raised_as_it_is() -> None:
    client, _ = client_of(ConfigurationError("no API keys found", setting="keys"))
    with pytest.raises(ConfigurationError, match="no API keys found"):
        client.chat.completions.create(**CHAT)


def test_the_asynchronous_client_raises_the_same() -> None:
    def late(sent: Sent) -> Any:
        raise DeadlineExceeded("too late")

    async def use() -> None:
        with pytest.raises(official.APITimeoutError, match="too late"):
            await AsyncOpenAI(fleet=FakeFleet(late)).chat.completions.create(**CHAT)

    asyncio.run(use())


def test_calls_that_are_no_json_posts_are_refused_with_what_works() -> None:
    fleet = FakeFleet(lambda sent: answer({}))
    client = OpenAI(fleet=fleet)
    with pytest.raises(official.NotFoundError, match=r"GET /v1/models .*chat\.completions") as caught:
        client.models.list()
    assert caught.value.code == "unsupported_endpoint"
    with pytest.raises(official.BadRequestError, match=r"POST /v1/files has a body that is not JSON"):
        client.files.create(file=b"{}", purpose="batch")
    assert fleet.sent == []
