"""Reading a request's body: what it asks for, and what it costs at admission."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from keyfleet.sim.config import SimAnswers
from keyfleet.sim.error_bodies import ApiError, invalid_request

__all__ = ["ECHO_CHARACTERS", "Asked", "BadRequest", "Endpoint", "read_request"]

Endpoint = Literal["completions", "chat/completions", "embeddings", "responses", "moderations"]

ECHO_CHARACTERS = 64
"""How much of a prompt an answer repeats, so that a test can match the two."""

_INPUT_FIELD: dict[Endpoint, str] = {
    "completions": "prompt",
    "chat/completions": "messages",
    "embeddings": "input",
    "responses": "input",
    "moderations": "input",
}
_OUTPUT_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class BadRequest(Exception):
    """The body can't be answered; `error` is what the provider would say."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, read.

    `prompts` are the texts to be answered one by one (for a chat the last text of the conversation). `choices` is
    n, `allowed_tokens` the output that each choice may have, `cost_tokens` the charge at admission: the prompt and
    all output that is allowed. `schema` is that of a structured output, None where none was asked for.
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


def read_request(endpoint: Endpoint, body: bytes, settings: SimAnswers, model_in_path: str | None = None) -> Asked:
    """`model_in_path` counts before the body's model. Raises BadRequest where a real provider would answer 400."""
    document = _document(body)
    model = model_in_path or document.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest(invalid_request("you must provide a model parameter"))
    if document.get("stream"):
        message = "Unsupported value: 'stream' does not support true with this stand-in."
        raise BadRequest(invalid_request(message, param="stream", code="unsupported_value"))
    name = _INPUT_FIELD[endpoint]
    if document.get(name) in (None, [], {}):
        message = f"Missing required parameter: '{name}'."
        raise BadRequest(invalid_request(message, param=name, code="missing_required_parameter"))
    prompts, prompt_tokens = _input(endpoint, document[name], settings.bytes_per_token)
    if endpoint == "moderations":
        return Asked(model, prompts, prompt_tokens, 0, 1, prompt_tokens)
    if endpoint == "embeddings":
        dimensions = _whole_number(document, "dimensions", None)
        as_base64 = document.get("encoding_format") == "base64"
        return Asked(model, prompts, prompt_tokens, 0, 1, prompt_tokens, dimensions, as_base64)
    choices = _whole_number(document, "n", 1) or 1
    limits = (_whole_number(document, name, None) for name in _OUTPUT_LIMITS)
    allowed = next((limit for limit in limits if limit is not None), settings.default_output_tokens)
    cost = prompt_tokens + allowed * choices * len(prompts)
    return Asked(model, prompts, prompt_tokens, allowed, choices, cost, schema=_schema(document))


def _schema(document: dict[str, Any]) -> Any:
    """The schema of Chat Completions' `response_format`, or of the Responses API's `text.format`."""
    text = document.get("text")
    given = document.get("response_format") or (text.get("format") if isinstance(text, dict) else None)
    if not isinstance(given, dict) or given.get("type") != "json_schema":
        return None
    inner = given.get("json_schema")
    return inner.get("schema") if isinstance(inner, dict) else given.get("schema")


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BadRequest(invalid_request("We could not parse the JSON body of your request."))
    return document


def _whole_number(document: dict[str, Any], name: str, default: int | None) -> int | None:
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        message = f"Invalid type for '{name}': expected an integer of 0 or more."
        raise BadRequest(invalid_request(message, param=name, code="invalid_type"))
    return value


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
