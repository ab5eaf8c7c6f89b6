"""How requests and outcomes are written into Redis."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from keyfleet.contract import AttemptError, Outcome, Request

__all__ = [
    "JobOptions",
    "Taken",
    "decode_attempts",
    "decode_outcome",
    "decode_record",
    "encode_attempts",
    "encode_outcome",
    "encode_record",
    "request_key",
    "split_request_key",
]


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
    """A request as a worker holds it: with its fencing token and the attempts that failed so far."""

    key: str
    token: str
    cost_tokens: int
    record: bytes
    endpoint: str
    model: str
    body: bytes
    context: dict[str, Any]
    options: JobOptions
    attempts: tuple[AttemptError, ...]


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
        "endpoint": request.endpoint,
        "model": request.model,
        "attempts": [options.max_attempts, options.timeout_attempts],
        "timeout_s": options.timeout_s,
    }
    if request.context:
        header["context"] = request.context
    return _dump(header).encode() + b"\n" + request.body


def decode_record(key: str, token: str, cost_tokens: int, record: bytes, attempts: bytes) -> Taken:
    """A request as `take` handed it out."""
    header_text, _, body = record.partition(b"\n")
    header = json.loads(header_text)
    max_attempts, timeout_attempts = header["attempts"]
    options = JobOptions(max_attempts, header["timeout_s"], timeout_attempts)
    return Taken(
        key,
        token,
        cost_tokens,
        record,
        header["endpoint"],
        header["model"],
        body,
        header.get("context", {}),
        options,
        decode_attempts(attempts),
    )


def encode_attempts(attempts: tuple[AttemptError, ...]) -> str:
    """Failed attempts as JSON."""
    return _dump([asdict(attempt) for attempt in attempts])


def decode_attempts(text: bytes | str) -> tuple[AttemptError, ...]:
    """Failed attempts from JSON; an empty text is none."""
    return tuple(AttemptError(**attempt) for attempt in json.loads(text)) if text else ()


def encode_outcome(outcome: Outcome) -> str:
    """The outcome as JSON, without the answer's body, the context and the request's body, which travel beside it."""
    fields: dict[str, Any] = {"ok": outcome.ok, "attempts": outcome.attempts, "finished_s": outcome.finished_s}
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
    return _dump(fields)


def decode_outcome(entry: dict[bytes, bytes]) -> Outcome:
    """An outcome from one entry of a job's stream."""
    fields = json.loads(entry[b"outcome"])
    header_text, newline, request_body = entry[b"record"].partition(b"\n")
    _, request_id = split_request_key(entry[b"request"].decode())
    return Outcome(
        id=request_id,
        ok=fields["ok"],
        status=fields.get("status"),
        body=None if fields.get("no_body") else entry[b"body"],
        attempts=fields["attempts"],
        errors=tuple(AttemptError(**error) for error in fields.get("errors", ())),
        key_name=fields.get("key_name"),
        request_id=fields.get("request_id"),
        tokens=fields.get("tokens", 0),
        finished_s=fields["finished_s"],
        context=json.loads(header_text).get("context", {}),
        request_body=request_body if newline else None,
    )
