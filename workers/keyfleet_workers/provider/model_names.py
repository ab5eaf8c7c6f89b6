"""The model in a request's body: reading its name, and putting the provider's own name for it in its place."""

from __future__ import annotations

import json

from keyfleet.batch.json_text import NotJSON, decode_object, join_members, members_of

__all__ = ["model_in", "with_model"]

_FIELD = "model"


def with_model(body: bytes, name: str) -> bytes:
    """`body` with `name` for its top-level model, and all else as it was written. What is no JSON object stays."""
    try:
        members = members_of(body)
    except NotJSON:
        return body
    if members is None:
        return body
    text = f'"{_FIELD}": {json.dumps(name)}'
    return join_members(tuple(one._replace(text=text) if one.key == _FIELD else one for one in members))


def model_in(body: bytes) -> str | None:
    """The top-level model that `body` names; None where it names none."""
    try:
        members = members_of(body)
    except NotJSON:
        return None
    name = decode_object(members).get(_FIELD) if members else None
    return name if isinstance(name, str) else None
