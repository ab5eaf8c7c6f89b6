"""What a request that makes images costs: their number, its prompt, and the output tokens that are published."""

from __future__ import annotations

from typing import Any

import pytest

from keyfleet.tokens import TextCounter, count_request_images, count_request_tokens, counter_for
from keyfleet.tokens.cost import MAX_COST_TOKENS
from keyfleet.tokens.encodings import EncodingLoader

ENDPOINT = "/v1/images/generations"


class Words:
    """A stand-in encoding, one token for each word."""

    def encode_ordinary(self, text: str) -> list[int]:
        return [0] * len(text.split())


def counter(model: str = "gpt-4o") -> TextCounter:
    return counter_for(model, loader=EncodingLoader(build=lambda _: Words(), is_cached=lambda _: True))


def tokens(model: str | None, endpoint: str = ENDPOINT, counted_for: str = "gpt-4o", **body: Any) -> int:
    document = {"prompt": "one two", **({} if model is None else {"model": model}), **body}
    return count_request_tokens(endpoint, document, counter=counter(counted_for))


@pytest.mark.parametrize(
    ("endpoint", "body", "images"),
    [
        (ENDPOINT, {}, 1),
        (ENDPOINT, {"n": None}, 1),
        (ENDPOINT, {"n": 4}, 4),
        (ENDPOINT, {"n": 0}, 1),
        (ENDPOINT, {"n": -3}, 1),
        (ENDPOINT, {"n": "4"}, 1),
        (ENDPOINT, {"n": 10**30}, MAX_COST_TOKENS),
        ("/openai/deployments/pictures/images/generations?api-version=2024-10-21", {"n": 2}, 2),
        ("/v1/chat/completions", {"n": 4}, 0),
        ("/v1/embeddings", {}, 0),
        ("http://[", {"n": 4}, 0),
    ],
)
def test_a_request_costs_the_images_that_it_makes(endpoint: str, body: dict[str, Any], images: int) -> None:
    assert count_request_images(endpoint, body) == images


@pytest.mark.parametrize(
    ("body", "output_tokens"),
    [
        ({"quality": "low", "size": "1024x1024"}, 272),
        ({"quality": "low", "size": "1024x1536"}, 408),
        ({"quality": "low", "size": "1536x1024"}, 400),
        ({"quality": "medium", "size": "1024x1024"}, 1056),
        ({"quality": "medium", "size": "1536x1024"}, 1568),
        ({"quality": "high", "size": "1024x1536"}, 6240),
        ({"quality": "HIGH", "size": "1024X1024"}, 4160),
        ({"quality": "low"}, 408),
        ({"quality": "auto", "size": "1024x1024"}, 4160),
        ({"size": "auto"}, 6240),
        ({}, 6240),
        ({"quality": ["low"], "size": {}}, 6240),
        ({"quality": "low", "size": "1024x1024", "n": 3}, 3 * 272),
        ({"quality": "low", "size": "1024x1024", "n": 2, "partial_images": 2}, 2 * (272 + 200)),
        ({"quality": "low", "size": "1024x1024", "partial_images": 10**9}, 272 + 300),
    ],
)
def test_an_image_has_the_output_tokens_that_openai_publishes_for_its_quality_and_size(
    body: dict[str, Any], output_tokens: int
) -> None:
    assert tokens("gpt-image-1", **body) == 2 + output_tokens


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3", "flux-pro"])
def test_models_that_are_not_paid_by_tokens_cost_their_prompt_alone(model: str) -> None:
    assert tokens(model, quality="high", size="1024x1024", n=4) == 2


def test_the_model_is_the_deployments_where_the_body_names_none() -> None:
    endpoint = "/openai/deployments/my-gpt-image-1/images/generations?api-version=2025-04-01-preview"
    assert tokens(None, endpoint, "my-gpt-image-1", quality="low", size="1024x1024") == 2 + 272


def test_absurd_numbers_are_held_to_one_that_can_be_stored() -> None:
    assert tokens("gpt-image-1", n=10**30) == MAX_COST_TOKENS
