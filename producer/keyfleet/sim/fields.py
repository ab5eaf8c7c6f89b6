"""Fields of a request's body, checked as OpenAI checks them and refused in its words."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from keyfleet.sim.error_bodies import ApiError, invalid_request

__all__ = [
    "BadRequest",
    "StreamWish",
    "bounded_number",
    "missing_field",
    "read_document",
    "stream_wish",
    "whole_number",
    "wrong_type",
]

_JSON_TYPES: dict[type, str] = {
    bool: "a boolean",
    dict: "an object",
    float: "a decimal",
    int: "an integer",
    list: "an array",
    str: "a string",
    type(None): "null",
}


class BadRequest(Exception):
    """The body can't be answered; `error` is what the provider would say."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class StreamWish(NamedTuple):
    """Whether a stream is asked for, and whether it shall end with the usage."""

    is_wanted: bool
    include_usage: bool = False


def read_document(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise BadRequest(invalid_request("We could not parse the JSON body of your request."))
    return document


def missing_field(name: str) -> BadRequest:
    """What a body without a required field meets."""
    message = f"Missing required parameter: '{name}'."
    return BadRequest(invalid_request(message, param=name, code="missing_required_parameter"))


def wrong_type(name: str, expected: str, value: object) -> BadRequest:
    """What a field of the wrong type meets; `expected` is a type in OpenAI's words, such as `a boolean`."""
    message = f"Invalid type for '{name}': expected {expected}, but got {_JSON_TYPES[type(value)]} instead."
    return BadRequest(invalid_request(message, param=name, code="invalid_type"))


def whole_number(document: dict[str, Any], name: str, default: int | None) -> int | None:
    """The field as a number of 0 or more; `default` where it is absent or null."""
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        message = f"Invalid type for '{name}': expected an integer of 0 or more."
        raise BadRequest(invalid_request(message, param=name, code="invalid_type"))
    return value


def bounded_number(document: dict[str, Any], name: str, default: int, *, least: int, most: int) -> int:
    """The field as a whole number from `least` to `most`; `default` where it is absent or null."""
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(name, "an integer", value)
    if least <= value <= most:
        return value
    where, sign, bound = ("below minimum", ">=", least) if value < least else ("above maximum", "<=", most)
    message = f"Invalid '{name}': integer {where} value. Expected a value {sign} {bound}, but got {value} instead."
    code = "integer_below_min_value" if value < least else "integer_above_max_value"
    raise BadRequest(invalid_request(message, param=name, code=code))


def stream_wish(document: dict[str, Any], *, can_stream: bool, has_usage_option: bool) -> StreamWish:
    """What a body says about streaming.

    `can_stream`: the endpoint streams here. `has_usage_option`: its streams show the usage only where that is asked
    for; the Responses API doesn't know the option, since its streams always do.
    """
    is_wanted = _flag(document.get("stream"), "stream")
    if is_wanted and not can_stream:
        message = "Unsupported value: 'stream' does not support true with this stand-in."
        raise BadRequest(invalid_request(message, param="stream", code="unsupported_value"))
    options = document.get("stream_options")
    if options is None:
        return StreamWish(is_wanted)
    if not isinstance(options, dict):
        raise wrong_type("stream_options", "an object", options)
    if not is_wanted:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise BadRequest(invalid_request(message, param="stream_options"))
    known = {"include_obfuscation"} | ({"include_usage"} if has_usage_option else set())
    for name in options:
        if name not in known:
            message = f"Unknown parameter: 'stream_options.{name}'."
            raise BadRequest(invalid_request(message, param=f"stream_options.{name}", code="unknown_parameter"))
    return StreamWish(True, _flag(options.get("include_usage"), "stream_options.include_usage"))


def _flag(value: object, name: str) -> bool:
    if value is not None and not isinstance(value, bool):
        raise wrong_type(name, "a boolean", value)
    return bool(value)
