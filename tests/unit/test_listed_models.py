"""Lists of models as they lie in Redis, where others could write too."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyfleet.errors import MalformedEntry
from keyfleet.listed_models import LARGEST_LIST_BYTES, MOST_MODELS, ListedModel, decode_models, encode_models

ENTRY = {"id": "m", "created_s": 5, "owned_by": "me"}


def text_of(*entries: Any, **fields: Any) -> bytes:
    return json.dumps({"v": 1, "models": list(entries), **fields}).encode()


def test_a_list_is_read_as_it_was_told_in_order_of_names() -> None:
    models = (ListedModel("b", 7, "me"), ListedModel("ä/a:1"), ListedModel("a", 0, "you"))
    assert decode_models(encode_models(models).encode()) == (models[2], models[0], models[1])
    assert decode_models(encode_models(()).encode()) == ()


def test_an_entry_is_given_in_openais_shape() -> None:
    document = {"id": "m", "object": "model", "created": 5, "owned_by": "me"}
    assert ListedModel("m", 5, "me").document() == document


def test_of_too_many_models_the_first_by_name_are_told() -> None:
    told = decode_models(encode_models(ListedModel(f"m{number:06}") for number in range(MOST_MODELS + 5)).encode())
    assert (len(told), told[-1].id) == (MOST_MODELS, f"m{MOST_MODELS - 1:06}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"no JSON", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b"[]", "expected a JSON object"),
        (text_of(v=3), "of version 3"),
        (b'{"v": 1}', "`models`: expected a list"),
        (text_of(models={"id": "m"}), "`models`: expected a list"),
        (text_of(models=[{}] * (MOST_MODELS + 1)), "`models`: expected a list of up to"),
        (text_of("m"), "expected a JSON object"),
        (text_of({**ENTRY, "id": 5}), "`id`: expected a text"),
        (text_of({**ENTRY, "id": ""}), "`id`: expected a model's name"),
        (text_of({**ENTRY, "id": "a\r\nb"}), "`id`: expected a model's name"),
        (text_of({**ENTRY, "id": "\ud800"}), "`id`: expected a model's name"),
        (text_of({**ENTRY, "id": "x" * 1000}), "`id`: expected a model's name"),
        (text_of({**ENTRY, "created_s": -1}), "`created_s`: expected a whole number"),
        (text_of({**ENTRY, "created_s": 10**30}), "`created_s`: expected a whole number"),
        (text_of({**ENTRY, "owned_by": None}), "`owned_by`: expected a text"),
        (text_of({**ENTRY, "owned_by": "\x00"}), "`owned_by`: expected a name"),
        (b" " * (LARGEST_LIST_BYTES + 1), "expected a shorter list"),
    ],
)
def test_what_is_no_such_list_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(MalformedEntry, match=message):
        decode_models(text)
