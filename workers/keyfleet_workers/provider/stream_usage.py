"""Asking for the usage of a streamed answer, which OpenAI only tells where it is asked to.

`stream_options.include_usage` (API reference, Chat Completions and Completions): one more event before the end has an
empty list of choices and the usage. Responses tell it without being asked.
"""

from __future__ import annotations

import json

from keyfleet.batch.json_text import Member, NotJSON, decode_object, join_members, members_of
from keyfleet.config import Provider

__all__ = ["asking_for_usage"]

_FIELD, _ASKED = "stream_options", "include_usage"

_TELLS_WHEN_ASKED: frozenset[Provider] = frozenset({"openai", "azure"})
"""Other servers may refuse a field that they don't know."""


def asking_for_usage(provider: Provider, endpoint: str, body: bytes) -> bytes | None:
    """`body` that also asks for the usage; None where it does so already, or nobody would understand it."""
    if provider not in _TELLS_WHEN_ASKED or not endpoint.partition("?")[0].rstrip("/").endswith("/completions"):
        return None
    try:
        members = members_of(body)
    except NotJSON:
        return None
    if members is None:
        return None
    options = decode_object(members).get(_FIELD) or {}
    if not isinstance(options, dict) or _ASKED in options:
        return None
    text = f'"{_FIELD}": {json.dumps({**options, _ASKED: True})}'
    return join_members((*members, Member(_FIELD, None, text)))
