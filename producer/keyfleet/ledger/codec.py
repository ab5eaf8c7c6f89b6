"""How requests and outcomes are written into Redis, and how they are read back: never trusting what lies there."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from keyfleet.checked_json import CONTRACT_VERSION, STREAMS_VERSION, Fields, is_count, parse_json
from keyfleet.contract import AttemptError, Cost, Outcome, Request
from keyfleet.errors import MalformedEntry

__all__ = [
    "MALFORMED_OUTCOME",
    "NO_PACK",
    "JobOptions",
    "Taken",
    "decode_attempts",
    "decode_outcome",
    "decode_record",
    "encode_attempts",
    "encode_outcome",
    "encode_record",
    "request_id_of",
    "request_key",
    "split_request_key",
    "unreadable_outcome",
]

MALFORMED_OUTCOME = "malformed_outcome"
"""Code of the error that stands for an outcome which can't be read."""

NO_PACK = b"-"
"""Stands in the ledger for a request that is sent alone."""

_NO_PATH = re.compile(r"[\s\\\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What a job asks of the workers that run its requests.

    `max_attempts` calls at the most, `timeout_attempts` of them timed out; `timeout_s` is the longest silence of the
    provider in one call. `echo` asks for the request's body back with its outcome.
    """

    max_attempts: int = 5
    timeout_s: float = 600.0
    timeout_attempts: int = 2
    echo: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A request as a worker holds it: with its fencing token and the attempts that failed so far.

    `pack` names what one call may carry together with it, as `contract.Request` has it; `streams`, likewise.
    `accepted_ms` is when it was accepted, by the server's clock; 0 where that isn't known.
    """

    key: str
    token: str
    cost_tokens: int
    record: bytes = field(repr=False)
    endpoint: str
    model: str
    body: bytes = field(repr=False)
    context: dict[str, Any] = field(repr=False)
    options: JobOptions
    attempts: tuple[AttemptError, ...]
    pack: str = ""
    streams: bool = False
    cost_images: int = 0
    accepted_ms: int = 0

    @property
    def cost(self) -> Cost:
        return Cost(self.cost_tokens, self.cost_images)


def request_key(job_id: str, request_id: str) -> str:
    """The name of a request within its queue."""
    return f"{job_id}:{request_id}"


def split_request_key(key: str) -> tuple[str, str]:
    """(job id, request id) of a request's name."""
    job_id, _, request_id = key.partition(":")
    return job_id, request_id


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))  # ASCII, as texts may hold half a surrogate pair


def encode_record(request: Request, options: JobOptions) -> bytes:
    """The header as JSON, a newline, and the body."""
    header: dict[str, Any] = {
        "v": STREAMS_VERSION if request.streams else CONTRACT_VERSION,
        "endpoint": request.endpoint,
        "model": request.model,
        "attempts": [options.max_attempts, options.timeout_attempts],
        "timeout_s": options.timeout_s,
    }
    if request.context:
        header["context"] = request.context
    if request.streams:
        header["streams"] = True
    return _dump(header).encode() + b"\n" + request.body


def decode_record(
    key: str, token: str, cost: Cost, record: bytes, attempts: bytes, pack: bytes = NO_PACK, accepted_ms: int = 0
) -> Taken:
    """A request as `take` handed it out. Raises MalformedEntry, which shows nothing of it."""
    header_text, newline, body = record.partition(b"\n")
    header = Fields.of_text(header_text)
    header.check_version()
    if not newline or not is_count(cost.tokens) or not is_count(cost.images):
        raise MalformedEntry("expected a body, and a cost of 0 or more tokens and images")
    return Taken(
        key,
        token,
        cost.tokens,
        record,
        _endpoint(header.text("endpoint")),
        header.text("model"),
        body,
        header.members("context"),
        _options(header),
        decode_attempts(attempts),
        "" if pack == NO_PACK else pack.decode(errors="replace"),
        header.get("streams") is True,
        cost.images,
        accepted_ms,
    )


def _endpoint(path: str) -> str:
    """`path`, if it is one: what follows a key's base URL must not be able to change the host."""
    if not path.startswith("/") or _NO_PATH.search(path):
        raise MalformedEntry("`endpoint`: expected a path such as /v1/embeddings, without blanks")
    return path


def _options(header: Fields) -> JobOptions:
    counts = header.get("attempts")
    if not isinstance(counts, list) or len(counts) != 2 or not all(is_count(count) for count in counts):
        raise MalformedEntry("`attempts`: expected two whole numbers")
    timeout_s = header.number("timeout_s")
    if not timeout_s:
        raise MalformedEntry("`timeout_s`: expected a number above 0")
    return JobOptions(counts[0], timeout_s, counts[1])


def encode_attempts(attempts: tuple[AttemptError, ...]) -> str:
    """Failed attempts as JSON."""
    return _dump([asdict(attempt) for attempt in attempts])


def decode_attempts(text: bytes | str) -> tuple[AttemptError, ...]:
    """Failed attempts from JSON; an empty text is none. Raises MalformedEntry."""
    return _attempts(parse_json(text)) if text else ()


def _attempts(rows: Any) -> tuple[AttemptError, ...]:
    if not isinstance(rows, list):
        raise MalformedEntry("expected a list of failed attempts")
    found = []
    for row in rows:
        fields = Fields(row)
        found.append(
            AttemptError(
                fields.count_or_none("status"),
                fields.text("code"),
                fields.text("message"),
                fields.text_or_none("key_name"),
                fields.number("at_s"),
            )
        )
    return tuple(found)


def encode_outcome(outcome: Outcome) -> str:
    """The outcome as JSON, without the answer's body, the context and the request's body, which travel beside it."""
    fields: dict[str, Any] = {
        "v": CONTRACT_VERSION,
        "ok": outcome.ok,
        "attempts": outcome.attempts,
        "finished_s": outcome.finished_s,
    }
    if outcome.status is not None:
        fields["status"] = outcome.status
    if outcome.errors:
        fields["errors"] = [asdict(error) for error in outcome.errors]
    if outcome.key_name:
        fields["key_name"] = outcome.key_name
    if outcome.request_id:
        fields["request_id"] = outcome.request_id
    if outcome.tokens:
        fields["tokens"] = outcome.tokens
    if outcome.body is None:
        fields["no_body"] = True
    if outcome.pieces:
        fields["pieces"] = outcome.pieces
    return _dump(fields)


def decode_outcome(entry: dict[bytes, bytes]) -> Outcome:
    """An outcome from one entry of a job's stream. Raises MalformedEntry.

    An answer is kept even where the request that stands beside it can't be read: it was paid for.
    """
    fields = Fields.of_text(entry.get(b"outcome", b""))
    fields.check_version()
    body = entry.get(b"body")
    if body is None:
        raise MalformedEntry("`body`: expected the answer's text")
    header_text, newline, request_body = entry.get(b"record", b"").partition(b"\n")
    return Outcome(
        id=request_id_of(entry),
        ok=fields.flag("ok"),
        status=fields.count_or_none("status"),
        body=None if fields.get("no_body") else body,
        attempts=fields.count("attempts"),
        errors=_attempts(fields.get("errors") or []),
        key_name=fields.text_or_none("key_name"),
        request_id=fields.text_or_none("request_id"),
        tokens=fields.count("tokens", 0),
        finished_s=fields.number("finished_s"),
        context=_context(header_text),
        request_body=request_body if newline else None,
        pieces=fields.count("pieces", 0),
    )


def unreadable_outcome(entry: dict[bytes, bytes], error: MalformedEntry) -> Outcome:
    """A final error in place of an outcome that can't be read; its id is '' where not even that can be."""
    try:
        request_id = request_id_of(entry)
    except MalformedEntry:
        request_id = ""
    header_text, newline, request_body = entry.get(b"record", b"").partition(b"\n")
    attempt = AttemptError(None, MALFORMED_OUTCOME, f"the outcome in the broker can't be read: {error}")
    return Outcome(
        id=request_id,
        ok=False,
        status=None,
        body=None,
        attempts=1,
        errors=(attempt,),
        context=_context(header_text),
        request_body=request_body if newline else None,
    )


def request_id_of(entry: dict[bytes, bytes]) -> str:
    """The request that an entry of a job's stream speaks of. Raises MalformedEntry."""
    try:
        _, request_id = split_request_key(entry.get(b"request", b"").decode())
    except UnicodeDecodeError:
        request_id = ""
    if not request_id:
        raise MalformedEntry("`request`: expected a job and a request of it")
    return request_id


def _context(header_text: bytes) -> dict[str, Any]:
    try:
        return Fields.of_text(header_text).members("context")
    except MalformedEntry:
        return {}
