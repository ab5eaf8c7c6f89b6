"""Why requests of a job failed for good: counts by reason, with an example each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import redis

from keyfleet import redis_keys
from keyfleet.checked_json import Fields
from keyfleet.contract import Outcome
from keyfleet.errors import MalformedEntry
from keyfleet.ledger.codec import split_request_key

__all__ = ["FAILURES_LUA", "OTHER_REASONS", "FailureGroup", "bounded_reasons", "failure_example", "read_failures"]

FAILURES_LUA = ("keyfleet.ledger.lua", "failures.lua")

MOST_REASONS = 100
"""Reasons told apart; `failures.lua` has the same number."""

OTHER_REASONS = "other"
"""Stands for all reasons beyond the first hundred."""

MESSAGE_CHARACTERS = 500
"""Longest message of an example."""


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """`count` requests failed for `reason` (status and code); `line` is one of them, with the provider's message."""

    reason: str
    count: int
    line: str = ""
    custom_id: str = ""
    message: str = ""
    key_name: str = ""


def failure_example(outcome: Outcome) -> str:
    """A failure as JSON, with the provider's message and nothing of the request."""
    error = outcome.errors[-1] if outcome.errors else None
    line = split_request_key(outcome.id)[1] or outcome.id
    example = {"line": line, "message": error.message[:MESSAGE_CHARACTERS] if error else ""}
    if error is not None and error.key_name:
        example["key_name"] = error.key_name
    custom_id = outcome.context.get("custom_id")
    if isinstance(custom_id, str):
        example["custom_id"] = custom_id
    return json.dumps(example, separators=(",", ":"))


def bounded_reasons(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent reasons, and all others as one."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    bounded = dict(ordered[:MOST_REASONS])
    if rest := sum(count for _, count in ordered[MOST_REASONS:]):
        bounded[OTHER_REASONS] = bounded.get(OTHER_REASONS, 0) + rest
    return bounded


def read_failures(client: redis.Redis, fleet: str, job_id: str) -> list[FailureGroup]:
    """A job's failures, the most frequent first. Raises redis.RedisError."""
    counts = cast("dict[bytes, bytes]", client.hgetall(redis_keys.job_failures(fleet, job_id)))
    examples = cast("dict[bytes, bytes]", client.hgetall(redis_keys.job_failure_examples(fleet, job_id)))
    groups = [_group(reason, count, examples.get(reason, b"{}")) for reason, count in counts.items()]
    return sorted(groups, key=lambda group: (-group.count, group.reason))


def _group(reason: bytes, count: bytes, example: bytes) -> FailureGroup:
    text = reason.decode(errors="replace")
    number = int(count) if count.isdigit() else 0
    try:
        fields = Fields.of_text(example)
        return FailureGroup(
            text,
            number,
            line=fields.text_or_none("line") or "",
            custom_id=fields.text_or_none("custom_id") or "",
            message=fields.text_or_none("message") or "",
            key_name=fields.text_or_none("key_name") or "",
        )
    except MalformedEntry:
        return FailureGroup(text, number)
