"""One call with a list of inputs as several calls, and their answers as one: so that all keys work on a list.

Pure functions. A list of prompts becomes a call for each prompt; a list of texts to embed or to moderate as many
parts as keys serve the model, and at least as many as the provider's maxima ask for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from keyfleet.batch.json_text import Member, NotJSON, decode_object, join_members, members_of
from keyfleet.calls.answer_text import Field, elements_at, fields_at, text_of
from keyfleet.errors import RequestFailed
from keyfleet.tokens import counter_for

__all__ = [
    "EMBEDDING_INPUTS",
    "EMBEDDING_TOKENS",
    "MODERATION_INPUTS",
    "UNEXPECTED_ANSWER",
    "Spread",
    "may_have_list",
    "spread",
]

EMBEDDING_INPUTS = 2048
EMBEDDING_TOKENS = 250_000
"""OpenAI embeds at most 2,048 inputs and 300,000 tokens in one call (API reference, Embeddings, `input`). What we count
is an estimate for some models, so it stays below that."""

MODERATION_INPUTS = 32
"""Most texts of one moderation. OpenAI's reference names no maximum; calls of this size fit small limits of tokens."""

UNEXPECTED_ANSWER = "unexpected_answer"
"""Code of the error where a part's answer has not the list that was asked for."""

Kind = Literal["completions", "embeddings", "moderations"]

_LISTS: dict[Kind, tuple[str, str]] = {
    "completions": ("prompt", "choices"),
    "embeddings": ("input", "data"),
    "moderations": ("input", "results"),
}
"""Where the list is in the request, and in the answer."""

_INDEX = "index"
_USAGE = "usage"


@dataclass(frozen=True, slots=True)
class Spread:
    """`bodies` are the parts' requests, in the order of the list. `sizes` is how many items each answer has."""

    kind: Kind
    bodies: tuple[bytes, ...] = field(repr=False)
    sizes: tuple[int, ...]

    def merged(self, answers: Sequence[bytes]) -> bytes:
        """One answer of the parts' answers, which are in the order of `bodies`.

        Indices count through the whole list (completions: prompt i, choice j: i·n+j), all numbers of the usage are
        added up, and all else is the first answer's. Raises RequestFailed for an answer without the whole list.
        """
        list_name = _LISTS[self.kind][1]
        parts = [_answer_fields(answer, list_name) for answer in answers]
        items: list[str] = []
        offset = 0
        for fields, size in zip(parts, self.sizes, strict=True):
            listed = next(one.value for one in fields if one.name == list_name)
            if len(listed) != size:
                raise _unexpected(f"with {len(listed)} items in place of {size}")
            items += [_renumbered(item, offset) for item in sorted(listed, key=_index_of)]
            offset += size
        usages = [one.value for fields in parts for one in fields if one.name == _USAGE]
        texts = {one.name: one.text for one in parts[0]}
        texts[list_name] = "[" + ", ".join(items) + "]"
        if usages:
            texts[_USAGE] = json.dumps(_sum(usages))
        return ("{" + ", ".join(f"{json.dumps(name)}: {text}" for name, text in texts.items()) + "}").encode()


def may_have_list(endpoint: str) -> bool:
    """Whether calls of this endpoint may have a list of inputs."""
    return _kind_of(endpoint) is not None


def spread(endpoint: str, body: bytes, lanes: Callable[[str], int]) -> Spread | None:
    """The parts of a call; None where it has no list of several inputs, or one part takes them all.

    `lanes(model)` is how many keys serve the model. A list of token numbers is one input, and so are the texts and
    images of a multimodal moderation. What is no good request is left whole, to be refused as such.
    """
    kind = _kind_of(endpoint)
    members = _members(body) if kind else None
    if kind is None or members is None:
        return None
    name = _LISTS[kind][0]
    document = decode_object(members)
    inputs = _inputs(document.get(name))
    if inputs is None:
        return None
    model = document.get("model")
    model = model if isinstance(model, str) else ""
    if kind == "completions":
        choices = document.get("n")
        slices = [(at, at + 1) for at in range(len(inputs))]
        sizes = [choices if type(choices) is int and choices > 0 else 1 for _ in slices]
    else:
        slices = _slices(kind, inputs, model, max(1, lanes(model)))
        sizes = [end - start for start, end in slices]
    if len(slices) < 2:
        return None
    return Spread(kind, tuple(_part(members, name, inputs[start:end], kind) for start, end in slices), tuple(sizes))


def _kind_of(endpoint: str) -> Kind | None:
    path = endpoint.partition("?")[0].rstrip("/")
    if path.endswith("/chat/completions"):
        return None
    return next((kind for kind in _LISTS if path.endswith(f"/{kind}")), None)


def _members(body: bytes) -> tuple[Member, ...] | None:
    try:
        return members_of(body)
    except NotJSON:
        return None


def _inputs(value: Any) -> list[str | list[int]] | None:
    """The inputs, if it is a list of at least two texts, or lists of token numbers."""
    if isinstance(value, list) and len(value) > 1 and all(isinstance(item, str | list) for item in value):
        return value
    return None


def _part(members: tuple[Member, ...], name: str, inputs: list[Any], kind: Kind) -> bytes:
    """The body with other inputs; all else is cut from the text that came."""
    value = inputs[0] if kind == "completions" else inputs
    text = f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
    return join_members(tuple(Member(one.key, None, text) if one.key == name else one for one in members))


def _slices(kind: Kind, inputs: list[Any], model: str, lanes: int) -> list[tuple[int, int]]:
    """Contiguous slices, of nearly equal numbers of inputs, each within the maxima of one call."""
    most = EMBEDDING_INPUTS if kind == "embeddings" else MODERATION_INPUTS
    parts = min(len(inputs), max(lanes, -(-len(inputs) // most)))
    bounds = [len(inputs) * part // parts for part in range(parts + 1)]
    slices = list(pairwise(bounds))
    if kind != "embeddings" or sum(map(_most_tokens, inputs)) <= EMBEDDING_TOKENS:
        return slices
    counter = counter_for(model)
    tokens = [counter.count_text(one) if isinstance(one, str) else len(one) for one in inputs]
    return [half for start, end in slices for half in _halved(tokens, start, end)]


def _most_tokens(one: Any) -> int:
    """No token is shorter than a byte, and no character longer than four: cheap to know, and mostly enough."""
    return len(one) if isinstance(one, list) or one.isascii() else 4 * len(one)


def _halved(tokens: list[int], start: int, end: int) -> list[tuple[int, int]]:
    if end - start < 2 or sum(tokens[start:end]) <= EMBEDDING_TOKENS:
        return [(start, end)]
    middle = (start + end) // 2
    return _halved(tokens, start, middle) + _halved(tokens, middle, end)


def _answer_fields(answer: bytes, list_name: str) -> list[Field]:
    """The fields of a part's answer, of which the list holds its items' fields."""
    read_item = partial(fields_at, readers={})
    try:
        fields, _ = fields_at(text_of(answer), 0, {list_name: partial(elements_at, read=read_item)})
    except ValueError:
        fields = []
    if not any(one.name == list_name for one in fields):
        raise _unexpected(f"without `{list_name}`")
    return fields


def _unexpected(how: str) -> RequestFailed:
    message = f"a part of the list was answered {how}, so the answers can't be put together"
    return RequestFailed(message, code=UNEXPECTED_ANSWER, attempts=1)


def _index_of(item: list[Field]) -> int:
    """An item without an index, as of a moderation, stays where it is."""
    return next((one.value for one in item if _is_index(one)), 0)


def _renumbered(item: list[Field], offset: int) -> str:
    texts = (f"{json.dumps(one.name)}: {one.value + offset if _is_index(one) else one.text}" for one in item)
    return "{" + ", ".join(texts) + "}"


def _is_index(one: Field) -> bool:
    return one.name == _INDEX and type(one.value) is int


def _sum(values: list[Any]) -> Any:
    """Numbers added up, objects field by field, of anything else the first that is there."""
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        return sum(there)
    if there and all(isinstance(value, dict) for value in there):
        names = dict.fromkeys(name for value in there for name in value)
        return {name: _sum([value.get(name) for value in there]) for name in names}
    return there[0] if there else None
