"""One call with a list of inputs as several calls, and their answers as one: so that all keys work on a list.

Pure functions. A list of prompts becomes a call for each prompt; a list of texts to embed or to moderate as many
parts as keys serve the model, and at least as many as the provider's maxima ask for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from keyfleet.batch.answer_text import Spans, cut, fields_and_rows, object_text, text_of
from keyfleet.batch.json_text import Member, NotJSON, decode_object, join_members, members_of
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
        parts = [_PartAnswer.of(answer, list_name) for answer in answers]
        items: list[str] = []
        offset = 0
        for part, size in zip(parts, self.sizes, strict=True):
            if len(part.items) != size:
                raise _unexpected(f"with {len(part.items)} items in place of {size}")
            items += part.renumbered(offset)
            offset += size
        usages = [json.loads(part.fields[_USAGE]) for part in parts if _USAGE in part.fields]
        texts = {**parts[0].fields, list_name: "[" + ", ".join(items) + "]"}
        if usages:
            texts[_USAGE] = json.dumps(_sum(usages))
        return object_text(texts).encode()


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
    return value if isinstance(value, list) and len(value) > 1 and all(map(_is_input, value)) else None


def _is_input(value: Any) -> bool:
    """A list of anything else than numbers could be taken for several inputs where it stands alone."""
    return isinstance(value, str) or (isinstance(value, list) and set(map(type, value)) <= {int})


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


@dataclass(frozen=True, slots=True)
class _PartAnswer:
    """One part's answer: its fields as they stood, and where in `text` those of its items stand."""

    text: str = field(repr=False)
    fields: dict[str, str] = field(repr=False)
    items: list[Spans]

    @classmethod
    def of(cls, answer: bytes, list_name: str) -> _PartAnswer:
        """Raises RequestFailed for an answer without the list."""
        try:
            text = text_of(answer)
            fields, items = fields_and_rows(text, list_name)
        except (ValueError, LookupError, RecursionError):
            raise _unexpected(f"without `{list_name}`") from None
        return cls(text, {name: cut(text, span) for name, span in fields.items()}, items)

    def renumbered(self, offset: int) -> list[str]:
        """The items by their indices, which count from `offset`. One without, as of a moderation, stays where it is."""
        numbered = [(self._index(item), item) for item in self.items]
        return [self._item(item, index, offset) for index, item in sorted(numbered, key=lambda one: one[0] or 0)]

    def _index(self, item: Spans) -> int | None:
        index = json.loads(cut(self.text, item[_INDEX])) if _INDEX in item else None
        return index if type(index) is int else None

    def _item(self, item: Spans, index: int | None, offset: int) -> str:
        texts = {name: cut(self.text, span) for name, span in item.items()}
        return object_text(texts if index is None else {**texts, _INDEX: str(index + offset)})


def _unexpected(how: str) -> RequestFailed:
    message = f"a part of the list was answered {how}, so the answers can't be put together"
    return RequestFailed(message, code=UNEXPECTED_ANSWER, attempts=1)


def _sum(values: list[Any]) -> Any:
    """Numbers added up, objects field by field, of anything else the first that is there."""
    there = [value for value in values if value is not None]
    if there and all(isinstance(value, int | float) and not isinstance(value, bool) for value in there):
        return sum(there)
    if there and all(isinstance(value, dict) for value in there):
        names = dict.fromkeys(name for value in there for name in value)
        return {name: _sum([value.get(name) for value in there]) for name in names}
    return there[0] if there else None
