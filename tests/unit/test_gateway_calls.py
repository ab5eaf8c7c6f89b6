"""Calls through the gateway: what the fleet is given, and what clients get back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from keyfleet.calls import Answer
from keyfleet.errors import (
    BrokerUnavailable,
    ConfigurationError,
    DeadlineExceeded,
    FleetClosed,
    InvalidRequest,
    JobCancelled,
    NoKeyServes,
    ProviderError,
    RequestFailed,
    RequestTooLarge,
)
from keyfleet.gateway import GatewayTerms
from keyfleet.gateway.app import CALL_PATHS
from keyfleet.gateway.calls import MOST_INPUTS
from support.gateway_case import CHAT, CHAT_BODY, ask
from support.serving_fleet import SentCall, ServedFleet, chat_answer


@pytest.mark.parametrize("path", CALL_PATHS)
@pytest.mark.parametrize("prefix", ["/v1", ""])
def test_a_call_goes_to_the_fleet_whichever_base_url_a_client_has(path: str, prefix: str) -> None:
    fleet = ServedFleet()
    answered = ask(fleet, prefix + path.removeprefix("/v1"), {"model": "gpt", "input": "a", "prompt": "a"})
    assert (answered.status, fleet.sent[0].endpoint) == (200, path)
    assert answered.headers["content-type"] == "application/json"
    assert answered.headers["x-request-id"] == "req-1"
    assert answered.headers["x-keyfleet-key"] == "key-1"
    assert answered.headers["x-keyfleet-attempts"] == "2"


def test_a_body_is_sent_as_it_was_written() -> None:
    fleet = ServedFleet()
    raw = b'{ "model":"gpt",  "temperature": 0.10, "seed": 123456789012345678901234567890, "messages": [] }'
    assert ask(fleet, CHAT, raw).status == 200
    assert fleet.sent[0].raw == raw


def test_without_headers_a_call_is_urgent_and_waits_as_long_as_the_gateway_grants() -> None:
    fleet = ServedFleet()
    ask(fleet, terms=GatewayTerms(max_wait_s=12.5))
    assert fleet.sent[0].options == {
        "timeout_s": None,
        "priority": "urgent",
        "max_attempts": None,
        "start_within_s": 12.5,
    }


def test_headers_say_how_a_call_is_to_be_made() -> None:
    fleet = ServedFleet()
    headers = {
        "X-Keyfleet-Priority": "bulk",
        "X-Keyfleet-Timeout": "2.5",
        "X-Keyfleet-Max-Attempts": "3",
        "X-Keyfleet-Job": "nightly report",
    }
    assert ask(fleet, headers=headers).status == 200
    options = fleet.sent[0].options
    assert (options["priority"], options["timeout_s"], options["max_attempts"]) == ("bulk", 2.5, 3)
    assert options["job"] == "nightly report"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Keyfleet-Priority", "low"),
        ("X-Keyfleet-Timeout", "0"),
        ("X-Keyfleet-Timeout", "-1"),
        ("X-Keyfleet-Timeout", "nan"),
        ("X-Keyfleet-Timeout", "1e400"),
        ("X-Keyfleet-Timeout", "soon"),
        ("X-Keyfleet-Timeout", "9" * 400),
        ("X-Keyfleet-Max-Attempts", "0"),
        ("X-Keyfleet-Max-Attempts", "1.5"),
        ("X-Keyfleet-Max-Attempts", "9" * 5000),
        ("X-Keyfleet-Job", "x" * 101),
        ("X-Keyfleet-Job", "caf\xe9"),
        ("X-Keyfleet-Job", "a\tb"),
    ],
)
def test_a_header_that_is_wrong_is_named_and_not_quoted(header: str, value: str) -> None:
    fleet = ServedFleet()
    answered = ask(fleet, headers={header: value})
    assert (answered.status, answered.error["param"]) == (400, header)
    assert answered.error["message"].startswith(f"{header}: expected ")
    assert "9999" not in answered.error["message"]
    assert not fleet.sent


def test_a_list_is_spread_over_the_keys_and_put_together() -> None:
    fleet = ServedFleet(lanes=3)
    answered = ask(fleet, "/v1/embeddings", {"model": "gpt", "input": ["a", "b", "c", "d", "e"]})
    assert sorted(call.body["input"] for call in fleet.sent) == [["a"], ["b", "c"], ["d", "e"]]
    assert [row["index"] for row in answered.document["data"]] == [0, 1, 2, 3, 4]
    assert answered.document["usage"] == {"total_tokens": 5}
    assert answered.headers["x-keyfleet-attempts"] == "6"


def test_of_a_list_only_the_first_part_must_start_in_time_since_the_rest_would_be_lost_with_it() -> None:
    fleet = ServedFleet()
    ask(fleet, "/v1/completions", {"model": "gpt", "prompt": ["a", "b", "c"]})
    bounded = {call.body["prompt"]: "start_within_s" in call.options for call in fleet.sent}
    assert bounded == {"a": True, "b": False, "c": False}


def test_a_moderation_without_a_model_has_openais_own() -> None:
    fleet = ServedFleet()
    assert ask(fleet, "/v1/moderations", {"input": "a"}).status == 200
    assert fleet.sent[0].body == {"input": "a", "model": "omni-moderation-latest"}


def test_a_providers_final_error_is_passed_on_as_it_is() -> None:
    raw = b'{"error": {"message": "No.", "type": "t", "param": "p", "code": "c"}}'
    answered = ask(ServedFleet(lambda sent: Answer(422, raw, "key-2", "req-9", 1)))
    assert (answered.status, answered.body) == (422, raw)
    assert answered.headers["x-should-retry"] == "false"
    assert answered.headers["x-keyfleet-key"] == "key-2"


@pytest.mark.parametrize(("page", "shown"), [(b"<html>\n Bad \xff gateway", "<html> Bad"), (b"", "(empty)")])
def test_an_error_page_is_put_into_openais_shape(page: bytes, shown: str) -> None:
    answered = ask(ServedFleet(lambda sent: Answer(502, page)))
    assert (answered.status, answered.error["code"]) == (502, "provider_error")
    assert shown in answered.error["message"]


def test_names_that_would_end_a_header_are_escaped() -> None:
    answer = Answer(200, b"{}", "key\r\nx-injected: 1", "req\x00\x7f\u20ac" + "y" * 5000)
    answered = ask(ServedFleet(lambda sent: answer))
    assert answered.headers["x-keyfleet-key"] == "key\\r\\nx-injected: 1"
    assert answered.headers["x-request-id"].startswith("req\\x00\\x7f\\u20acyyy")
    assert len(answered.headers["x-request-id"]) == 1000


def failing(error: Exception) -> ServedFleet:
    def fail(sent: SentCall) -> Any:
        raise error

    return ServedFleet(fail)


def closed_when_sent() -> FleetClosed:
    error = FleetClosed("closed; it may have been paid for")
    vars(error)["was_sent"] = True
    return error


@pytest.mark.parametrize(
    ("error", "status", "code", "kind"),
    [
        (InvalidRequest("n: no", code="invalid_type", field="n"), 400, "invalid_type", "invalid_request_error"),
        (RequestTooLarge("much too large"), 400, "request_too_large", "invalid_request_error"),
        (NoKeyServes("nobody serves it"), 404, "model_not_found", "invalid_request_error"),
        (NoKeyServes("all keys are refused", code="keys_refused"), 503, "keys_refused", "server_error"),
        (ProviderError("No.", status=400, body={"error": {}}), 400, None, None),
        (DeadlineExceeded("not started"), 429, "rate_limit_exceeded", "requests"),
        (DeadlineExceeded("was sent", was_sent=True), 504, "timeout", "server_error"),
        (JobCancelled("it was cancelled"), 409, "job_cancelled", "invalid_request_error"),
        (FleetClosed("closed"), 503, "shutting_down", "server_error"),
        (closed_when_sent(), 504, "shutting_down", "server_error"),
        (BrokerUnavailable("nobody at redis://b"), 503, "broker_unavailable", "server_error"),
        (RequestFailed("lost", code="lost"), 502, "lost", "server_error"),
        (ConfigurationError("the file /secret/path is gone"), 500, "internal_error", "server_error"),
        (ValueError("the prompt was: Hi"), 500, "internal_error", "server_error"),
    ],
)
def test_every_error_of_the_fleet_has_its_status(error: Exception, status: int, code: str, kind: str) -> None:
    answered = ask(failing(error))
    assert answered.status == status
    if code is not None:
        assert (answered.error["code"], answered.error["type"]) == (code, kind)
        assert status == 500 or str(error) in answered.error["message"] or code == "shutting_down"
    may_try_again = status in (500, 429) or (status == 503 and isinstance(error, FleetClosed | BrokerUnavailable))
    assert answered.headers.get("x-should-retry") == (None if may_try_again else "false")


def test_an_error_of_ours_is_logged_without_its_words(caplog: pytest.LogCaptureFixture) -> None:
    answered = ask(failing(ValueError("the prompt was: Hi")))
    assert "prompt" not in answered.error["message"]
    assert "ValueError" in caplog.text
    assert "test_gateway_calls.py" in caplog.text
    assert "prompt" not in caplog.text


@pytest.mark.parametrize(
    ("wait_s", "told"), [(7.2, "8"), (0.0, "1"), (1e9, "60"), (float("inf"), "60"), (None, "5"), (59.1, "60")]
)
def test_who_waited_in_vain_is_told_when_to_come_back(wait_s: float | None, told: str) -> None:
    fleet = failing(DeadlineExceeded("the request could not be started"))
    fleet.wait_s = wait_s
    answered = ask(fleet)
    assert answered.headers["retry-after"] == told
    assert "the limits of gpt are reached" in answered.error["message"]


def test_an_outage_is_no_rate_limit() -> None:
    fleet = failing(DeadlineExceeded("the request could not be started"))
    fleet.reason = "no worker is running"
    answered = ask(fleet)
    assert (answered.status, answered.error["code"], answered.headers["retry-after"]) == (503, "not_ready", "5")
    assert "no worker is running" in answered.error["message"]
    assert "x-should-retry" not in answered.headers


@pytest.mark.parametrize("model", [None, 3, "missing"])
def test_the_model_of_a_call_that_waited_in_vain_may_be_anything(model: Any) -> None:
    body = {"messages": []} if model == "missing" else {**CHAT_BODY, "model": model}
    assert ask(failing(DeadlineExceeded("not started")), CHAT, body).status == 429


def test_the_parts_of_a_list_run_side_by_side() -> None:
    met: list[SentCall] = []

    async def meet(sent: SentCall) -> Answer:
        met.append(sent)
        while len(met) < 2:
            await asyncio.sleep(0)
        return chat_answer(sent)

    answered = ask(ServedFleet(meet, lanes=2), "/v1/embeddings", {"model": "gpt", "input": ["a", "b"]})
    assert (answered.status, len(met)) == (200, 2)


@pytest.mark.parametrize(
    ("path", "name"), [("/v1/completions", "prompt"), ("/v1/embeddings", "input"), ("/v1/moderations", "input")]
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_list_of_too_many_is_refused_by_its_name(path: str, name: str, stream: bool) -> None:
    fleet = ServedFleet()
    answered = ask(fleet, path, {"model": "gpt", name: ["a"] * (MOST_INPUTS + 1), "stream": stream})
    assert (answered.status, answered.error["param"]) == (400, name)
    assert not fleet.sent


def test_token_numbers_are_one_input_however_many() -> None:
    fleet = ServedFleet()
    assert ask(fleet, "/v1/embeddings", {"model": "gpt", "input": [1] * (MOST_INPUTS + 1)}).status == 200
    assert len(fleet.sent) == 1
