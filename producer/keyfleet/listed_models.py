"""The models that a provider lists for a key, as a worker tells them to those who want to know."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from keyfleet.checked_json import CONTRACT_VERSION, Fields, is_count
from keyfleet.errors import MalformedEntry

__all__ = ["ListedModel", "decode_models", "encode_models", "is_model_name"]

MOST_MODELS = 5_000
"""Models of one key; of more, those that come first by name. The largest lists are of some hundreds."""

MOST_CHARACTERS = 200
"""Longest name of a model, or of its owner."""

LARGEST_LIST_BYTES = 4_000_000
"""A longer list in Redis is none of ours."""


@dataclass(frozen=True, slots=True)
class ListedModel:
    """An entry of `GET /v1/models`; `created_s` is in seconds since the epoch, 0 where it isn't known."""

    id: str
    created_s: int = 0
    owned_by: str = ""

    def __post_init__(self) -> None:
        """Raises MalformedEntry."""
        if not is_model_name(self.id):
            raise MalformedEntry("`id`: expected a model's name")
        if not is_count(self.created_s):
            raise MalformedEntry("`created_s`: expected a whole number of 0 or more")
        if not _is_name(self.owned_by):
            raise MalformedEntry("`owned_by`: expected a name")

    def document(self) -> dict[str, Any]:
        """The entry as OpenAI has it."""
        return {"id": self.id, "object": "model", "created": self.created_s, "owned_by": self.owned_by}


def encode_models(models: Iterable[ListedModel]) -> str:
    """The list as JSON."""
    kept = sorted(models, key=lambda model: model.id)[:MOST_MODELS]
    return json.dumps({"v": CONTRACT_VERSION, "models": [asdict(model) for model in kept]})


def decode_models(text: bytes) -> tuple[ListedModel, ...]:
    """What `encode_models` has made. Raises MalformedEntry for anything else."""
    if len(text) > LARGEST_LIST_BYTES:
        raise MalformedEntry("expected a shorter list of models")
    fields = Fields.of_text(text)
    fields.check_version()
    rows = fields.get("models")
    if not isinstance(rows, list) or len(rows) > MOST_MODELS:
        raise MalformedEntry(f"`models`: expected a list of up to {MOST_MODELS}")
    entries = (Fields(row) for row in rows)
    return tuple(ListedModel(entry.text("id"), entry.count("created_s"), entry.text("owned_by")) for entry in entries)


def is_model_name(text: str) -> bool:
    """Whether a text can be the name of a listed model."""
    return bool(text) and _is_name(text)


def _is_name(text: str) -> bool:
    return len(text) <= MOST_CHARACTERS and text.isprintable()
