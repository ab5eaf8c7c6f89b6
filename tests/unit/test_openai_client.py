"""The official client with a fleet in the place of the network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import openai as official
import pytest

from keyfleet.errors import ConfigurationError, RequestTooLarge
from keyfleet.openai import AsyncOpenAI, OpenAI
from support.fake_fleet import FakeFleet, Sent, answer

CHAT: Any = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def reply(sent: Sent) -> Any:
    """What a provider would answer, as far as these tests look at it."""
    if sent.endpoint == "/v1/moderations":
        inputs = sent.body["input"]
        results = [{"flagged": text == "bad"} for text in ([inputs] if isinstance(inputs, str) else inputs)]
        return answer({"id": "modr-1", "model": sent.body["model"], "results": results})
    if sent.endpoint == "/v1/completions":
        choices = [{"text": sent.body["prompt"], "index": 0, "finish_reason": "stop", "logprobs": None}]
        return answer({"id": "c", "choices": choices, "usage": {"total_tokens": 3}})
    message = {"role": "assistant", "content": "Hello"}
    choices = [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}]
    document = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
    return answer(document, key_name="key-1", request_id="req_1", attempts=2)


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet(reply, lanes=2)


@pytest.fixture
def client(fleet: FakeFleet) -> Iterator[OpenAI]:
    with OpenAI(fleet=fleet) as client:
        yield client


def chat(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(**CHAT, **options)


def test_a_chat_goes_through_the_fleet(client: OpenAI, fleet: FakeFleet) -> None:
    assert chat(client).choices[0].message.content == "Hello"
    assert fleet.sent == [Sent("/v1/chat/completions", CHAT, None, "urgent", None)]


def test_no_key_is_needed_and_none_is_kept(client: OpenAI, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    for made in (OpenAI(fleet=fleet, api_key="sk-given"), OpenAI(fleet=fleet), client.copy(api_key="sk-given")):
        assert "sk-" not in str(made.api_key)


def test_arguments_about_keys_and_addresses_are_taken_and_change_nothing(fleet: FakeFleet) -> None:
    client = OpenAI(
        fleet=fleet,
        organization="org",
        project="p",
        base_url="https://gateway.test/deep/v1/",
        default_headers={"X-Mine": "1"},
    )
    chat(client)
    assert fleet.last.endpoint == "/v1/chat/completions"


def test_a_base_url_in_the_environment_changes_nothing(fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.test/other")
    client = OpenAI(fleet=fleet)
    chat(client)
    assert str(client.base_url).startswith("https://api.openai.com/v1")
    assert fleet.last.endpoint == "/v1/chat/completions"


@pytest.mark.parametrize("argument", ["http_client", "provider"])
def test_arguments_that_would_go_round_the_fleet_are_refused(fleet: FakeFleet, argument: str) -> None:
    given: Any = {argument: object()}
    with pytest.raises(ConfigurationError, match=f"{argument}: can't be given") as caught:
        OpenAI(fleet=fleet, **given)
    assert caught.value.setting == argument


def test_an_unknown_argument_is_refused_as_the_official_client_does(fleet: FakeFleet) -> None:
    with pytest.raises(TypeError, match="no_such_thing"):
        OpenAI(fleet=fleet, no_such_thing=1)


def test_the_fleet_makes_as_many_attempts_as_the_client_would(fleet: FakeFleet) -> None:
    client = OpenAI(fleet=fleet, max_retries=3)
    chat(client)
    assert fleet.last.max_attempts == 4
    chat(client.with_options(max_retries=0))
    assert fleet.last.max_attempts == 1
    chat(client.with_options(timeout=5))
    assert fleet.last.max_attempts == 4


def test_copies_leave_attempts_to_the_fleet_where_the_client_does(client: OpenAI, fleet: FakeFleet) -> None:
    chat(client.with_options(timeout=5).copy())
    assert fleet.last.max_attempts is None
    assert fleet.last.timeout_s == 5


def test_the_clients_timeout_is_the_calls_unless_it_has_its_own(fleet: FakeFleet) -> None:
    client = OpenAI(fleet=fleet, timeout=7)
    chat(client)
    assert fleet.last.timeout_s == 7
    chat(client, timeout=2.5)
    assert fleet.last.timeout_s == 2.5
    chat(client, timeout=official.Timeout(60.0, read=3.0))
    assert fleet.last.timeout_s == 3.0
    chat(client, timeout=None)
    assert fleet.last.timeout_s is None


def test_headers_of_a_call_tell_its_priority_and_attempts(client: OpenAI, fleet: FakeFleet) -> None:
    chat(client, extra_headers={"X-Keyfleet-Priority": "bulk", "X-Keyfleet-Max-Attempts": "2"})
    assert (fleet.last.priority, fleet.last.max_attempts) == ("bulk", 2)


@pytest.mark.parametrize(
    ("header", "value", "expected"),
    [
        ("X-Keyfleet-Priority", "soon", "urgent or bulk"),
        ("X-Keyfleet-Max-Attempts", "0", "at least 1"),
        ("X-Keyfleet-Max-Attempts", "many", "at least 1"),
    ],
)
def test_a_header_with_another_value_is_a_bad_request(client: OpenAI, header: str, value: str, expected: str) -> None:
    with pytest.raises(official.BadRequestError, match=expected) as caught:
        chat(client, extra_headers={header: value})
    assert caught.value.param == header


def test_what_the_fleet_knows_of_an_answer_is_in_its_headers(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(**CHAT)
    assert raw.headers["x-keyfleet-key"] == "key-1"
    assert raw.headers["x-keyfleet-attempts"] == "2"
    assert raw.parse()._request_id == "req_1"


def test_a_response_can_be_read_as_a_stream_of_bytes(client: OpenAI) -> None:
    with client.chat.completions.with_streaming_response.create(**CHAT) as streamed:
        assert b"Hello" in b"".join(streamed.iter_bytes())


def test_extra_body_and_query_are_sent_and_other_headers_are_not(client: OpenAI, fleet: FakeFleet) -> None:
    chat(client, extra_body={"top_k": 5}, extra_query={"beta": "1"}, extra_headers={"X-Mine": "secret"})
    assert fleet.last == Sent("/v1/chat/completions?beta=1", {**CHAT, "top_k": 5}, None, "urgent", None)


def test_moderations_without_a_model_have_openais_own_default(client: OpenAI, fleet: FakeFleet) -> None:
    assert client.moderations.create(input="bad").results[0].flagged
    assert fleet.last.body["model"] == "omni-moderation-latest"
    client.moderations.create(input="bad", model="mine")
    assert fleet.last.body["model"] == "mine"


def test_a_list_of_prompts_comes_back_as_one_answer(client: OpenAI, fleet: FakeFleet) -> None:
    done = client.completions.create(model="m", prompt=["a", "b", "c"])
    assert [(choice.index, choice.text) for choice in done.choices] == [(0, "a"), (1, "b"), (2, "c")]
    assert done.usage is not None
    assert done.usage.total_tokens == 9
    assert len(fleet.sent) == 3


def test_a_list_of_inputs_is_spread_over_the_keys(client: OpenAI, fleet: FakeFleet) -> None:
    done = client.moderations.create(model="m", input=["good", "bad", "good"])
    assert [result.flagged for result in done.results] == [False, True, False]
    assert sorted(len(sent.body["input"]) for sent in fleet.sent) == [1, 2]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_list_too_large_for_every_limit_comes_back_as_one_answer(is_async: bool) -> None:
    def one_by_one(sent: Sent) -> Any:
        if not isinstance(sent.body["input"], str) and len(sent.body["input"]) > 1:
            raise RequestTooLarge("too many tokens")
        return reply(sent)

    narrow = FakeFleet(one_by_one, lanes=1)
    given: Any = {"model": "m", "input": ["good", "bad"]}

    async def use() -> Any:
        return await AsyncOpenAI(fleet=narrow, timeout=9).moderations.create(**given)

    done = asyncio.run(use()) if is_async else OpenAI(fleet=narrow, timeout=9).moderations.create(**given)
    assert [result.flagged for result in done.results] == [False, True]
    with pytest.raises(official.BadRequestError, match="too many tokens"):
        OpenAI(fleet=FakeFleet(too_large)).moderations.create(model="m", input="good")


def too_large(sent: Sent) -> Any:
    raise RequestTooLarge("too many tokens")


def test_the_event_loop_never_waits_for_the_keys_to_be_counted(
    fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_by: list[str] = []

    def lanes(model: str) -> int:
        asked_by.append(threading.current_thread().name)
        return 2

    async def use() -> None:
        await AsyncOpenAI(fleet=fleet).moderations.create(model="m", input=["good", "bad"])

    monkeypatch.setattr(fleet, "lanes", lanes)
    asyncio.run(use())
    assert asked_by
    assert threading.main_thread().name not in asked_by


def test_the_asynchronous_client_does_the_same(fleet: FakeFleet) -> None:
    async def use() -> None:
        async with AsyncOpenAI(fleet=fleet, max_retries=1, timeout=9) as client:
            assert (await chat(client)).choices[0].message.content == "Hello"
            assert (fleet.last.max_attempts, fleet.last.timeout_s) == (2, 9)
            await chat(client.with_options(max_retries=0))
            assert fleet.last.max_attempts == 1
            done = await client.completions.create(model="m", prompt=["a", "b"])
            assert [choice.text for choice in done.choices] == ["a", "b"]
            raw = await client.chat.completions.with_raw_response.create(**CHAT)
            assert raw.headers["x-keyfleet-key"] == "key-1"
        assert not fleet.is_closed

    asyncio.run(use())


def test_proxies_of_the_environment_have_no_meaning(fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert chat(OpenAI(fleet=fleet)).id == "c"
