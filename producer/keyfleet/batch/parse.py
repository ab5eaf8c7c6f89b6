"""From a line of the input to a request: the cookbook's bare bodies, OpenAI's Batch lines, and what jobs of Python
programs have spooled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from keyfleet.batch.custom_ids import CustomIds
from keyfleet.batch.endpoints import (
    EXPECTED,
    SHAPES,
    deployment_model,
    endpoint_for_shape,
    needed_field,
    refusal,
    split_url,
    suits,
)
from keyfleet.batch.json_text import Member, NotJSON, decode_object, join_members, members_of
from keyfleet.batch.lines import LINE_BYTES_MAX, InputLine
from keyfleet.errors import ConfigurationError, InvalidRequest

__all__ = ["LineFormat", "LineParser", "ParsedLine", "detect_format"]

LineFormat = Literal["bare", "batch", "fleet"]
"""`fleet` lines hold `index`, `id` and `body` (`fleet_jobs.rows`), or an `error` instead of what can't be sent."""

_BATCH_MARKS = ("custom_id", "method", "url")
_FLEET_MARKS = frozenset({"index", "id"})


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """A request as it is sent (`body_bytes`) and as the output shows it (`original`), both JSON in UTF-8.

    `endpoint` and `base_url` are as `split_url` gives them. `body` is what was sent, for looking at: of a number
    that Python can't hold it has an approximation, the bytes have the number itself.
    """

    number: int
    custom_id: str | None
    endpoint: str
    base_url: str | None
    model: str
    body: dict[str, Any] = field(repr=False)
    body_bytes: bytes = field(repr=False)
    metadata: Any = field(repr=False)
    original: bytes = field(repr=False)

    @property
    def context(self) -> dict[str, Any]:
        """What the output needs and the provider doesn't, as `contract.Request.context` carries it."""
        context: dict[str, Any] = {}
        if self.custom_id is not None:
            context["custom_id"] = self.custom_id
        if self.metadata is not None:
            context["metadata"] = self.metadata
        return context


def detect_format(first_line: bytes) -> LineFormat:
    """Told by the first line that isn't blank: a Batch line has a `body` and at least one of its other fields, a
    spooled one an `index` and an `id`."""
    try:
        members = members_of(first_line)
    except NotJSON:
        return "batch" if b'"custom_id"' in first_line and b'"body"' in first_line else "bare"
    keys = {member.key for member in members or ()}
    if keys >= _FLEET_MARKS and keys & {"body", "error"}:
        return "fleet"
    return "batch" if "body" in keys and keys.intersection(_BATCH_MARKS) else "bare"


class LineParser:
    """Parses the lines of one input in order; a line may be parsed again.

    `url` is the endpoint (path or full URL) of lines that name none; without it the body's shape tells. A line's own
    url counts before it. Raises ConfigurationError if `url` can't be used.
    """

    def __init__(self, line_format: LineFormat, url: str | None = None) -> None:
        self.format = line_format
        self._target = None if url is None else _option_target(url)
        self._custom_ids = CustomIds()

    def parse(self, line: InputLine) -> ParsedLine:
        """Raises InvalidRequest, whose message names the line, the field and what is expected."""
        members = self._members(line)
        if self.format == "bare":
            return self._request(line.number, members, None, self._target)
        fields = {member.key: member for member in members}
        if self.format == "fleet":
            custom_id = _spooled_id(line.number, fields)
        else:
            custom_id = self._custom_id(line.number, decode_object(members).get("custom_id"))
        _check_method(line.number, fields.get("method"))
        body = fields.get("body")
        if body is None or not isinstance(body.value, dict):
            _refuse(line.number, "missing_body", "body", "is missing or no object; expected the request as an object")
        return self._request(line.number, body.members, custom_id, self._line_target(line.number, fields.get("url")))

    def remember(self, line: InputLine) -> None:
        """Note the `custom_id` of a line that is not parsed, since an earlier run has its outcome."""
        if self.format == "batch" and not line.oversized:
            try:
                custom_id = decode_object(members_of(line.raw) or ()).get("custom_id")
            except NotJSON:
                return
            if isinstance(custom_id, str):
                self._custom_ids.claim(custom_id, line.number)

    def close(self) -> None:
        self._custom_ids.close()

    def _members(self, line: InputLine) -> tuple[Member, ...]:
        if line.oversized:
            _refuse(line.number, "line_too_long", None, f"is longer than {LINE_BYTES_MAX} bytes")
        try:
            members = members_of(line.raw, inside=None if self.format == "bare" else "body")
        except NotJSON as error:
            _refuse(line.number, "invalid_json", None, f"is no JSON: {error}; expected one JSON object")
        if members is None:
            _refuse(line.number, "invalid_json", None, "is JSON, but no object; expected one JSON object")
        return members

    def _custom_id(self, number: int, custom_id: Any) -> str:
        if custom_id is None:
            _refuse(number, "missing_custom_id", "custom_id", "is missing; expected a string of its own for each line")
        if not isinstance(custom_id, str):
            _refuse(
                number, "invalid_custom_id", "custom_id", "is no string; expected a string of its own for each line"
            )
        owner = self._custom_ids.claim(custom_id, number)
        if owner != number:
            _refuse(
                number, "duplicate_custom_id", "custom_id", f"was used in line {owner} already; each must be unique"
            )
        return custom_id

    def _line_target(self, number: int, url: Member | None) -> tuple[str | None, str] | None:
        if url is None or url.value is None:
            return self._target
        if not isinstance(url.value, str):
            _refuse(number, "invalid_url", "url", "is no string; expected an endpoint such as /v1/chat/completions")
        try:
            return split_url(url.value)
        except ValueError as error:
            _refuse(number, "invalid_url", "url", f"can't be used: {error}")

    def _request(
        self,
        number: int,
        members: tuple[Member, ...],
        custom_id: str | None,
        target: tuple[str | None, str] | None,
    ) -> ParsedLine:
        body = decode_object(members)
        base_url, endpoint = target or (None, _endpoint_by_shape(number, body))
        _check_endpoint(number, endpoint, body)
        model = _model(number, body.get("model"), endpoint)
        original = join_members(members, without="metadata")
        metadata = body.get("metadata")
        if body.get("store") is True:
            sent = join_members(members)
        else:
            sent = original
            body.pop("metadata", None)
        return ParsedLine(number, custom_id, endpoint, base_url, model, body, sent, metadata, original)


def _spooled_id(number: int, fields: dict[str, Member]) -> str:
    """What the caller calls the request. Raises InvalidRequest for one that could not even be spooled."""
    if "error" in fields:
        error = fields["error"].value
        raise InvalidRequest(f"line {number}: {error['message']}", code=error["code"], field=error["field"])
    found = fields["id"].value if "id" in fields else None
    return found if isinstance(found, str) else str(number - 1)


def _option_target(url: str) -> tuple[str | None, str]:
    try:
        target = split_url(url)
    except ValueError as error:
        raise ConfigurationError(f"--url: {error}", setting="url") from None
    why = refusal(target[1])
    if why:
        raise ConfigurationError(f"--url: the endpoint {target[1]} {why}", setting="url")
    return target


def _endpoint_by_shape(number: int, body: dict[str, Any]) -> str:
    endpoint = endpoint_for_shape(body)
    if endpoint is None:
        named = "the endpoint by name (--url; in a program endpoint=…)"
        _refuse(number, "unknown_shape", None, f"has none of {', '.join(SHAPES)}; expected one of them, or {named}")
    return endpoint


def _check_method(number: int, method: Member | None) -> None:
    if method is not None and method.value not in (None, "POST"):
        _refuse(number, "invalid_method", "method", "is not POST; only POST can be sent")


def _check_endpoint(number: int, endpoint: str, body: dict[str, Any]) -> None:
    why = refusal(endpoint)
    if why:
        _refuse(number, "unsupported_endpoint", "url", f"can't be used: the endpoint {endpoint} {why}")
    if body.get("stream") is not None and body["stream"] is not False:
        _refuse(number, "stream_not_supported", "stream", "asks for a stream; expected false, or no such field")
    field = needed_field(endpoint)
    if field is None or (endpoint.endswith("/responses") and isinstance(body.get("prompt"), dict)):
        return  # a stored prompt of the Responses API needs no input
    if field not in body or body[field] is None:
        _refuse(number, f"missing_{field}", field, f"is missing; {endpoint} expects {EXPECTED[field]}")
    if not suits(field, body[field]):
        _refuse(number, f"invalid_{field}", field, f"can't be used; {endpoint} expects {EXPECTED[field]}")


def _model(number: int, model: Any, endpoint: str) -> str:
    if model is None:
        model = deployment_model(endpoint)
    if model is None:
        _refuse(number, "missing_model", "model", "is missing; expected the name of a model")
    if not isinstance(model, str) or not model.strip():
        _refuse(number, "invalid_model", "model", "is no name; expected the name of a model")
    return model


def _refuse(number: int, code: str, field: str | None, what: str) -> NoReturn:
    subject = f"line {number}: `{field}` {what}" if field else f"line {number} {what}"
    raise InvalidRequest(subject, code=code, field=field)
