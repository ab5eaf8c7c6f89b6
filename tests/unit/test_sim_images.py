"""The stand-in's images, and the limits of images."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import openai
import pytest
import requests

from keyfleet.sim import SimAnswers, SimConfig, SimKey, SimServer, config_from_document, document_of, parse_limits
from keyfleet.sim.config import SimLimit
from keyfleet.sim.enforcement import Quota

S = 1_000_000_000
KEYS = (
    SimKey(name="free", api_key="sk-free"),
    SimKey(name="narrow", api_key="sk-narrow", limits=parse_limits(requests=["100/minute"], images=["5/minute"])),
    SimKey(name="azure", api_key="sk-azure", flavour="azure", limits=parse_limits(images=["2/minute"])),
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def sim() -> Iterator[SimServer]:
    with SimServer(SimConfig(keys=KEYS)) as server:
        yield server


def draw(sim: SimServer, key: str = "sk-free", **fields: Any) -> requests.Response:
    body = {"model": "gpt-image-1", "prompt": "a red fox", **fields}
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(f"{sim.base_url}/v1/images/generations", json=body, headers=headers, timeout=10)


def test_gpt_image_answers_pictures_that_hold_their_prompt_and_tells_its_usage(sim: SimServer) -> None:
    answer = draw(sim, n=2, quality="low", response_format="url").json()
    pictures = [base64.b64decode(image["b64_json"]) for image in answer["data"]]
    assert all(picture.startswith(PNG_SIGNATURE) and b"a red fox" in picture for picture in pictures)
    assert pictures[0] != pictures[1]
    assert [set(image) for image in answer["data"]] == [{"b64_json"}, {"b64_json"}]
    assert answer["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 3},
        "output_tokens": 544,
        "total_tokens": 547,
    }


def test_dall_e_answers_addresses_without_usage(sim: SimServer) -> None:
    answer = draw(sim, model="dall-e-3").json()
    assert set(answer) == {"created", "data"}
    assert set(answer["data"][0]) == {"url", "revised_prompt"}
    assert set(draw(sim, model="dall-e-2", response_format="b64_json").json()["data"][0]) == {"b64_json"}


def test_the_official_client_reads_the_answer(sim: SimServer) -> None:
    with openai.OpenAI(base_url=f"{sim.base_url}/v1", api_key="sk-free", max_retries=0) as client:
        answer = client.images.generate(model="gpt-image-1", prompt="a red fox", quality="medium", size="1536x1024")
    assert answer.data is not None
    assert base64.b64decode(answer.data[0].b64_json or "").startswith(PNG_SIGNATURE)
    assert answer.usage is not None
    assert answer.usage.output_tokens == 1568


def test_the_size_of_a_picture_is_settable() -> None:
    with SimServer(SimConfig(keys=KEYS, answers=SimAnswers(answer_bytes=10_000))) as sim:
        picture = base64.b64decode(draw(sim).json()["data"][0]["b64_json"])
    assert 10_000 < len(picture) < 10_200


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 11}, "n", "integer_above_max_value"),
        ({"n": "two"}, "n", "invalid_type"),
        ({"n": True}, "n", "invalid_type"),
        ({"prompt": None}, "prompt", "missing_required_parameter"),
        ({"prompt": ""}, "prompt", "missing_required_parameter"),
        ({"prompt": ["a"]}, "prompt", "invalid_type"),
        ({"response_format": "png"}, "response_format", "invalid_value"),
        ({"stream": True}, "stream", "unsupported_value"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(sim: SimServer, fields: dict[str, Any], param: str, code: str) -> None:
    answer = draw(sim, **fields)
    assert answer.status_code == 400
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == (param, code)


def test_a_limit_of_images_counts_every_image_and_is_told_in_the_providers_words(sim: SimServer) -> None:
    assert draw(sim, key="sk-narrow", n=4).status_code == 200
    refused = draw(sim, key="sk-narrow", n=2)
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("input-images", "rate_limit_exceeded")
    assert "on input-images per min: Limit 5, Used 4, Requested 2. Please try again in" in error["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert "x-ratelimit-limit-requests" in refused.headers
    assert not [name for name in refused.headers if name.endswith("-images")]
    assert draw(sim, key="sk-narrow").status_code == 200, "one more fits"


def test_a_call_for_more_images_than_the_limit_is_too_large(sim: SimServer) -> None:
    refused = draw(sim, key="sk-narrow", n=6)
    assert refused.json()["error"]["message"].startswith("Request too large for gpt-image-1")
    assert "on input-images per min: Limit 5, Requested 6." in refused.json()["error"]["message"]
    assert "retry-after" not in refused.headers


def test_dall_e_has_words_of_its_own_for_a_limit(sim: SimServer) -> None:
    assert draw(sim, key="sk-narrow", model="dall-e-2", n=5).status_code == 200
    error = draw(sim, key="sk-narrow", model="dall-e-2").json()["error"]
    assert error["message"].startswith("Rate limit exceeded for images per minute in organization org-narrow. ")
    assert "Limit: 5/1min. Current: 6/1min." in error["message"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")


def test_azure_draws_from_its_deployments_under_a_limit_of_images(sim: SimServer) -> None:
    address = f"{sim.base_url}/openai/deployments/dall-e-3/images/generations?api-version=2024-10-21"
    answers = [
        requests.post(address, json={"prompt": "a fox", "n": n}, headers={"api-key": "sk-azure"}, timeout=10)
        for n in (2, 1)
    ]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert "ImageGenerations_Create Operation" in answers[1].json()["error"]["message"]


def test_statistics_know_images(sim: SimServer) -> None:
    assert [draw(sim, key="sk-narrow", n=n).status_code for n in (2, 3, 1)] == [200, 200, 429]
    counts = sim.stats()["keys"]["narrow"]
    assert (counts["images_charged"], counts["tokens_charged"], counts["over_limit"]) == (5, 6, 1)
    peaks = {limit["of"]: (limit["peak"], limit["peak_arrived"]) for limit in counts["limits"]}
    assert peaks == {"requests": (2, 3), "images": (5, 6)}
    assert [seen["images"] for seen in sim.requests(9)] == [2, 3, 0]


def test_other_calls_take_nothing_from_a_limit_of_images(sim: SimServer) -> None:
    headers = {"Authorization": "Bearer sk-narrow"}
    assert draw(sim, key="sk-narrow", n=5).status_code == 200
    body = {"model": "m", "prompt": "a"}
    answer = requests.post(f"{sim.base_url}/v1/completions", json=body, headers=headers, timeout=10)
    assert answer.status_code == 200


def test_images_requests_and_tokens_are_charged_all_or_nothing() -> None:
    quota = Quota(parse_limits(requests=["9/minute"], tokens=["100/minute"], images=["3/minute"]), kind="sliding")
    assert quota.admit(0, 40, 2) is None
    refusal = quota.admit(1 * S, 40, 2)
    assert refusal is not None
    assert (refusal.limit.of, refusal.used, refusal.requested) == ("images", 2, 2)
    assert refusal.wait_ns == 59 * S
    assert {one.limit.of: one.remaining for one in quota.standings(1 * S)} == {"requests": 8, "tokens": 60, "images": 1}
    assert quota.admit(60 * S, 40, 3) is None


def test_limits_of_images_stand_in_a_file_beside_the_others() -> None:
    limits = {"requests": ["9/minute"], "images": ["10/minute", {"amount": 2, "window_s": 0.5}]}
    key = {"name": "one", "api_key": "sk-one", "models": {"dall-e-*": {"images": ["5/minute"]}}, **limits}
    config = config_from_document({"keys": [key], "accept_any_key": True, "default_limits": {"images": ["1/minute"]}})
    images = (SimLimit("images", 10, 60.0), SimLimit("images", 2, 0.5))
    assert config.keys[0].limits == (SimLimit("requests", 9, 60.0), *images)
    assert config.keys[0].models["dall-e-*"] == (SimLimit("images", 5, 60.0),)
    assert config.default_limits == (SimLimit("images", 1, 60.0),)
    assert config_from_document(document_of(config)) == config
