"""Reading a request's body: what it asks for, and what it costs at admission."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from keyfleet.sim.conduct import SimAnswers
from keyfleet.sim.error_bodies import invalid_request
from keyfleet.sim.fields import (
    BadRequest,
    bounded_number,
    missing_field,
    read_document,
    stream_wish,
    whole_number,
    wrong_type,
)
from keyfleet.sim.image_models import gives_address, is_dall_e, tokens_of_an_image

__all__ = ["ECHO_CHARACTERS", "Asked", "Endpoint", "read_request"]

Endpoint = Literal["completions", "chat/completions", "embeddings", "responses", "moderations", "images/generations"]

ECHO_CHARACTERS = 64
"""How much of a prompt an answer repeats, so that a test can match the two."""

_INPUT_FIELD: dict[Endpoint, str] = {
    "completions": "prompt",
    "chat/completions": "messages",
    "embeddings": "input",
    "responses": "input",
    "moderations": "input",
    "images/generations": "prompt",
}
_STREAMED: tuple[Endpoint, ...] = ("completions", "chat/completions", "responses")
_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")

MOST_IMAGES = 10
"""How many images one call may ask for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, read.

    `prompts` are the texts to be answered one by one (for a chat the last text of the conversation). `choices` is
    n, `allowed_tokens` the output that each choice may have, `cost_tokens` the charge at admission: the prompt and
    all output that is allowed. `schema` is that of a structured output, None where none was asked for. `cost_images` is
    the charge in images; their own tokens, `allowed_tokens` each, are reported and not charged. `as_url`: an image is
    answered by its address.
    """

    model: str
    prompts: tuple[str, ...] = field(repr=False)
    prompt_tokens: int
    allowed_tokens: int
    choices: int
    cost_tokens: int
    dimensions: int | None = None
    as_base64: bool = False
    schema: Any = field(default=None, repr=False)
    is_streamed: bool = False
    include_usage: bool = False
    cost_images: int = 0
    as_url: bool = False


def read_request(endpoint: Endpoint, body: bytes, settings: SimAnswers, model_in_path: str | None = None) -> Asked:
    """`model_in_path` counts before the body's model. Raises BadRequest where a real provider would answer 400."""
    document = read_document(body)
    model = model_in_path or document.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest(invalid_request("you must provide a model parameter"))
    wish = stream_wish(document, can_stream=endpoint in _STREAMED, has_usage_option=endpoint != "responses")
    name = _INPUT_FIELD[endpoint]
    if document.get(name) in (None, [], {}):
        raise missing_field(name)
    if endpoint == "images/generations":
        return _read_images(document, model, settings)
    prompts, prompt_tokens = _input(endpoint, document[name], settings.bytes_per_token)
    if endpoint == "moderations":
        return Asked(model, prompts, prompt_tokens, 0, 1, prompt_tokens)
    if endpoint == "embeddings":
        dimensions = whole_number(document, "dimensions", None)
        as_base64 = document.get("encoding_format") == "base64"
        return Asked(model, prompts, prompt_tokens, 0, 1, prompt_tokens, dimensions, as_base64)
    choices = whole_number(document, "n", 1) or 1
    limits = (whole_number(document, name, None) for name in _OUTPUT_LIMITS)
    allowed = next((limit for limit in limits if limit is not None), settings.default_output_tokens)
    cost = prompt_tokens + allowed * choices * len(prompts)
    schema = _schema(document)
    return Asked(
        *(model, prompts, prompt_tokens, allowed, choices, cost),
        schema=schema,
        is_streamed=wish.is_wanted,
        include_usage=wish.include_usage,
    )


def _read_images(document: dict[str, Any], model: str, settings: SimAnswers) -> Asked:
    prompt = document["prompt"]
    if not isinstance(prompt, str):
        raise wrong_type("prompt", "a string", prompt)
    if not prompt:
        raise missing_field("prompt")
    count = bounded_number(document, "n", 1, least=1, most=MOST_IMAGES)
    form = document.get("response_format")
    if form not in (None, "url", "b64_json"):
        message = "Invalid value for 'response_format': supported values are 'url' and 'b64_json'."
        raise BadRequest(invalid_request(message, param="response_format", code="invalid_value"))
    each = tokens_of_an_image(model, document.get("quality"), document.get("size"))
    tokens = 0 if is_dall_e(model) else _text_tokens(prompt, settings.bytes_per_token)
    as_url = gives_address(model, form)
    return Asked(model, (prompt,), tokens, each, count, tokens, cost_images=count, as_url=as_url)


def _schema(document: dict[str, Any]) -> Any:
    """The schema of Chat Completions' `response_format`, or of the Responses API's `text.format`."""
    text = document.get("text")
    given = document.get("response_format") or (text.get("format") if isinstance(text, dict) else None)
    if not isinstance(given, dict) or given.get("type") != "json_schema":
        return None
    inner = given.get("json_schema")
    return inner.get("schema") if isinstance(inner, dict) else given.get("schema")


def _input(endpoint: Endpoint, value: Any, bytes_per_token: float) -> tuple[tuple[str, ...], int]:
    """The prompts, and their tokens together."""
    if endpoint == "moderations" and isinstance(value, list) and isinstance(value[0], dict):
        texts = _message_texts({"content": value})
        return (texts[0] if texts else "",), sum(_text_tokens(text, bytes_per_token) for text in texts)
    if endpoint == "chat/completions" or (endpoint == "responses" and isinstance(value, list)):
        texts = [text for message in _list(value) for text in _message_texts(message)]
        return (texts[-1] if texts else "",), sum(_text_tokens(text, bytes_per_token) for text in texts)
    if isinstance(value, str):
        return (value,), _text_tokens(value, bytes_per_token)
    entries = _list(value)
    if isinstance(entries[0], int):
        return (_token_text(entries),), len(entries)
    prompts = tuple(entry if isinstance(entry, str) else _token_text(_list(entry)) for entry in entries)
    tokens = (_text_tokens(entry, bytes_per_token) if isinstance(entry, str) else len(entry) for entry in entries)
    return prompts, sum(tokens)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise BadRequest(invalid_request("Invalid type for the input: expected a text or a list.", code="invalid_type"))
    return value


def _message_texts(message: Any) -> list[str]:
    """The texts of one message, whose content is a text or a list of parts; other parts (images) are free here."""
    if not isinstance(message, dict):
        raise BadRequest(invalid_request("Invalid type for a message: expected an object.", code="invalid_type"))
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    parts = content if isinstance(content, list) else []
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]


def _text_tokens(text: str, bytes_per_token: float) -> int:
    size_bytes = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return int(-(-size_bytes // bytes_per_token))


def _token_text(tokens: list[Any]) -> str:
    """Token ids as a text to echo."""
    return " ".join(str(token) for token in tokens[:ECHO_CHARACTERS])
