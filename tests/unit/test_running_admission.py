"""Admission: what a line costs, and whether any key can ever run it."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest
from limits import RateLimitItem, parse

from keyfleet.batch.lines import InputLine
from keyfleet.batch.packing import Packing
from keyfleet.batch.parse import LineFormat, LineParser, ParsedLine
from keyfleet.config import KeyConfig, ModelLimits, ModelSettings, SecretReference
from keyfleet.contract import Cost
from keyfleet.errors import InvalidRequest, RequestFailed
from keyfleet.running.admission import Admission
from keyfleet.running.served_models import ServedModels


def key(
    name: str, *tokens: str, model: str | None = None, headroom: float = 0.0, images: str | None = None
) -> KeyConfig:
    items: tuple[RateLimitItem, ...] = tuple(parse(text) for text in tokens)
    limits = ModelLimits((), items, (parse(images),) if images else ())
    models = {} if model is None else {model: ModelSettings(limits)}
    return KeyConfig(
        name, SecretReference("${KEY}"), models=models, limits=limits if model is None else None, headroom=headroom
    )


def parsed(fields: dict[str, Any], line_format: LineFormat = "bare", url: str | None = None) -> ParsedLine:
    raw = json.dumps(fields).encode()
    with closing(LineParser(line_format, url)) as parser:
        return parser.parse(InputLine(7, 0, len(raw) + 1, raw))


CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello there"}], "max_tokens": 50}


def refused_by(served: ServedModels, model: str, cost_tokens: int, cost_images: int = 0) -> RequestFailed:
    with pytest.raises(RequestFailed) as caught:
        served.check(model, Cost(cost_tokens, cost_images))
    return caught.value


def test_a_request_is_named_by_its_line_and_keeps_its_metadata_at_home() -> None:
    request = Admission(None, None).request(parsed({**CHAT, "metadata": {"row": 3}}))
    assert (request.id, request.endpoint, request.model) == ("7", "/v1/chat/completions", "gpt-4o-mini")
    assert request.context == {"metadata": {"row": 3}}
    assert b"metadata" not in request.body


def test_a_request_costs_its_prompt_and_its_allowed_output() -> None:
    small = Admission(None, None).request(parsed(CHAT)).cost_tokens
    large = Admission(None, None).request(parsed({**CHAT, "max_tokens": 1050})).cost_tokens
    assert large - small == 1000
    assert 50 < small < 100


def test_a_request_without_a_maximum_costs_what_answers_of_its_model_have_lately_been() -> None:
    asked: list[str] = []

    def assumed(model: str) -> int:
        asked.append(model)
        return 1050

    open_ended = {name: value for name, value in CHAT.items() if name != "max_tokens"}
    learned = Admission(None, None, assumed_output_tokens=assumed)
    assert learned.request(parsed(open_ended)).cost_tokens - learned.request(parsed(CHAT)).cost_tokens == 1000
    assert asked[0] == "gpt-4o-mini"


def test_a_guessed_output_keeps_no_request_out_of_a_small_limit() -> None:
    open_ended = {name: value for name, value in CHAT.items() if name != "max_tokens"}
    served = ServedModels([key("one", "1000/minute")], 1.0)
    ordinary = Admission(served, None).request(parsed(open_ended)).cost_tokens
    learned = Admission(served, None, assumed_output_tokens=lambda model: 4000)
    assert learned.request(parsed(open_ended)).cost_tokens == ordinary
    with pytest.raises(InvalidRequest, match="request costs"):
        learned.request(parsed({**CHAT, "max_tokens": 4000}))


def test_a_model_that_no_key_serves_is_refused_with_those_that_are() -> None:
    error = refused_by(ServedModels([key("one", model="gpt-4o*"), key("two", model="o3")], 1.0), "claude", 1)
    assert str(error) == "no configured key serves the model 'claude'; served are gpt-4o*, o3"
    assert error.code == "model_not_served"


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [({"model": "claude"}, "model_not_served", "model"), ({"max_tokens": 4000}, "request_too_large", "max_tokens")],
)
def test_a_line_that_no_key_can_run_is_refused_by_its_number(fields: dict[str, Any], code: str, field: str) -> None:
    served = ServedModels([key("one", "1000/minute", model="gpt-4o-mini")], 1.0)
    with pytest.raises(InvalidRequest, match=r"^line 7: (no configured key|the request costs)") as caught:
        Admission(served, None).request(parsed({**CHAT, **fields}))
    assert (caught.value.code, caught.value.field) == (code, field)


def test_what_fits_the_largest_limit_exactly_is_admitted_and_one_more_is_not() -> None:
    served = ServedModels([key("small", "100/minute"), key("large", "1000/minute", "5000/hour")], 1.0)
    served.check("any", Cost(1000))
    error = refused_by(served, "any", 1010)
    assert error.code == "request_too_large"
    assert str(error) == (
        "the request costs 1010 tokens (prompt plus allowed output), 10 more than the largest limit ever "
        "allows (1000 tokens of key large, 1000 per 1 minute)"
    )


def test_the_share_in_use_and_the_headroom_of_a_key_make_its_limits_smaller() -> None:
    served = ServedModels([key("one", "1000/minute", headroom=0.5)], 0.5)
    served.check("any", Cost(250))
    assert refused_by(served, "any", 251).code == "request_too_large"


def test_a_key_without_token_limits_takes_requests_of_any_size() -> None:
    ServedModels([key("small", "100/minute"), key("open")], 1.0).check("any", Cost(10**9))


def test_only_limits_of_keys_that_serve_the_model_count() -> None:
    served = ServedModels([key("one", "100/minute", model="a"), key("two", "9000/minute", model="b")], 1.0)
    assert refused_by(served, "a", 101).code == "request_too_large"


IMAGES = {"model": "dall-e-2", "prompt": "An otter", "n": 5}


def parsed_images(**changed: Any) -> ParsedLine:
    return parsed({**IMAGES, **changed}, url="/v1/images/generations")


def test_a_request_costs_the_images_that_it_makes() -> None:
    assert Admission(None, None).request(parsed_images()).cost_images == 5
    assert Admission(None, None).request(parsed(CHAT)).cost_images == 0


def test_more_images_than_any_limit_ever_allows_are_refused_and_as_many_are_not() -> None:
    served = ServedModels([key("small", images="5/minute"), key("large", images="20/minute")], 0.5)
    assert Admission(served, None).request(parsed_images(n=10)).cost_images == 10
    with pytest.raises(InvalidRequest) as caught:
        Admission(served, None).request(parsed_images(n=12))
    assert (caught.value.code, caught.value.field) == ("request_too_large", "n")
    assert str(caught.value) == (
        "line 7: the request costs 12 images, 2 more than the largest limit ever allows "
        "(10 images of key large, 20 per 1 minute)"
    )


def test_a_key_without_limits_of_images_takes_any_number() -> None:
    ServedModels([key("small", images="5/minute"), key("open")], 1.0).check("any", Cost(1, 10**9))


def test_limits_of_one_key_must_allow_tokens_and_images_together() -> None:
    served = ServedModels([key("texts", "1000/minute", images="1/minute"), key("images", "10/minute")], 1.0)
    served.check("any", Cost(1000, 1))
    served.check("any", Cost(10, 50))
    error = refused_by(served, "any", 500, 2)
    assert (error.code, "500 tokens and 2 images" in str(error)) == ("request_too_large", True)


def test_keys_are_never_sent_to_an_address_that_stands_in_the_input() -> None:
    line = {"custom_id": "a", "method": "POST", "url": "https://evil.example/v1/chat/completions", "body": CHAT}
    with pytest.raises(InvalidRequest, match="line 7: url: expected a path") as caught:
        Admission(None, None).request(parsed(line, "batch"))
    assert caught.value.code == "invalid_url"


def test_a_full_url_of_the_command_line_is_taken() -> None:
    line = parsed(CHAT, url="https://mine.example/v1/chat/completions")
    assert Admission(None, None, takes_full_urls=True).request(line).endpoint == "/v1/chat/completions"


def test_where_other_hosts_serve_nothing_is_refused_for_its_model() -> None:
    assert Admission(None, None).request(parsed({**CHAT, "model": "unheard-of"})).model == "unheard-of"


def test_requests_share_calls_where_their_job_asks_for_that() -> None:
    embedding = {"model": "m", "input": "one", "metadata": {"row": 1}}
    alone = Admission(None, None).request(parsed(embedding))
    first, second = (
        Admission(None, None, packing=Packing("job", 9)).request(parsed({**embedding, "input": text, "metadata": text}))
        for text in ("one", "two")
    )
    assert alone.pack == ""
    assert first.pack == second.pack
    assert first.pack.endswith(":9")
    assert Admission(None, None, packing=Packing("job")).request(parsed(CHAT)).pack == ""
