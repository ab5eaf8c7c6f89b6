"""Taking the answer of a shared call apart, so that each request gets its own as if it had been alone.

What each gets is cut from the text that came, never parsed and written anew: numbers stay as the provider wrote them.
An answer may be of 65 MB (2,048 embeddings of 1,536 numbers), so no more of it is copied than one part at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyfleet.batch.answer_text import Spans, cut, fields_and_rows, object_text, text_of
from keyfleet_workers.dispatch.usage import tokens_used

__all__ = ["AnswerMisfit", "Part", "parts_of", "shares_of"]


class AnswerMisfit(ValueError):
    """An answer that can't be told apart: not as many items as were asked for, or in no order that is known."""


@dataclass(frozen=True, slots=True)
class Part:
    """One request's own answer, and the tokens that it reports (None: none)."""

    body: bytes = field(repr=False)
    tokens: int | None


def parts_of(body: bytes, listed: str, each: int, weights: Sequence[int]) -> Iterator[Part]:
    """The answers to requests that shared a call, in their order, of which each has `each` items of the list `listed`.

    Usage is shared out by `weights`; the shares add up to what was reported. Raises AnswerMisfit, before it gives any.
    """
    try:
        text = text_of(body)
        fields, rows = fields_and_rows(text, listed)
        items = _in_order(text, rows, each * len(weights))
        usages = shares_of(json.loads(cut(text, fields["usage"])), weights) if "usage" in fields else None
    except (ValueError, LookupError, RecursionError):
        raise AnswerMisfit(f"the answer has not {each * len(weights)} items with their indices") from None
    return _parts(text, {name: cut(text, span) for name, span in fields.items()}, listed, each, items, usages)


def _parts(
    text: str, fields: dict[str, str], listed: str, each: int, items: list[Spans], usages: list[Any] | None
) -> Iterator[Part]:
    for number in range(len(items) // each):
        own = items[number * each : (number + 1) * each]
        fields[listed] = "[" + ", ".join(_item(text, item, at) for at, item in enumerate(own)) + "]"
        tokens = None
        if usages is not None:
            fields["usage"] = json.dumps(usages[number])
            tokens = tokens_used({"usage": usages[number]})
        yield Part(object_text(fields).encode(), tokens)


def _item(text: str, spans: Spans, index: int) -> str:
    fields = {name: cut(text, span) for name, span in spans.items()}
    return object_text(fields | {"index": str(index)} if "index" in fields else fields)


def shares_of(usage: Any, weights: Sequence[int]) -> list[Any]:
    """`usage` shared out in proportion to `weights` (whole numbers above 0): counts add up to what they were (largest
    remainder), with a total that is a sum also within each share; what is no number is each one's."""
    if isinstance(usage, dict):
        by_name = {name: shares_of(value, weights) for name, value in usage.items()}
        shares = [{name: values[at] for name, values in by_name.items()} for at in range(len(weights))]
        for read, written in (("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens")):
            if _is_sum(usage, read, written):
                for share in shares:
                    share["total_tokens"] = share[read] + share[written]
        return shares
    if isinstance(usage, int) and not isinstance(usage, bool):
        return _apportioned(usage, weights)
    if isinstance(usage, float):
        return [usage * weight / sum(weights) for weight in weights]
    return [usage] * len(weights)


def _is_sum(usage: dict[str, Any], read: str, written: str) -> bool:
    counts = [usage.get(name) for name in (read, written, "total_tokens")]
    whole = [count for count in counts if type(count) is int]
    return len(whole) == len(counts) and whole[0] + whole[1] == whole[2]


def _apportioned(total: int, weights: Sequence[int]) -> list[int]:
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda at: -(total * weights[at] % whole))
    for at in by_remainder[: total - sum(shares)]:
        shares[at] += 1
    return shares


def _in_order(text: str, rows: list[Spans], count: int) -> list[Spans]:
    """The items by their indices; without any they stand in order. Some writers of JSON leave a 0 out."""
    if len(rows) == count and not any("index" in row for row in rows):
        return rows
    indices = [json.loads(cut(text, row["index"])) if "index" in row else 0 for row in rows]
    if len(rows) != count or any(type(index) is not int for index in indices) or set(indices) != set(range(count)):
        raise ValueError("wrong indices")
    return [row for _, row in sorted(zip(indices, rows, strict=True), key=lambda pair: pair[0])]
