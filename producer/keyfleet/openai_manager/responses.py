"""What the calls return: documents with attributes, as the official package had them before 1.0."""

from __future__ import annotations

import json
from typing import Any

from keyfleet.calls import Answer
from keyfleet.errors import InvalidRequest, ProviderError, RequestFailed
from keyfleet.results import parsed_body

__all__ = ["FailedResponse", "Response", "response_of"]


class Response(dict[str, Any]):
    """A response's document: `response["choices"][0]["text"]` and `response.choices[0].text` are the same."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        return self[name]


class FailedResponse(Response):
    """Stands in the place of a response that there is none of: `{"error": {…}}`, as OpenAI answers.

    It counts as false, so `[r for r in responses if r]` are those that succeeded. `exception` is what
    `keyfleet.Fleet.call` would have raised; asking for an item that only a response has raises it. `status` is the
    provider's HTTP status, None where it is no error of a provider.
    """

    def __init__(self, exception: RequestFailed | InvalidRequest) -> None:
        super().__init__(error=_error_document(exception))
        self.exception = exception

    @property
    def status(self) -> int | None:
        """The HTTP status of the provider's final answer."""
        return self.exception.status

    @property
    def code(self) -> str:
        """A short stable word."""
        return self.exception.code

    @property
    def message(self) -> str:
        """What went wrong."""
        return str(self.exception)

    def __bool__(self) -> bool:
        return False

    def __missing__(self, name: str) -> Any:
        raise self.exception

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        why = "" if name.startswith("__") or name == "exception" else f": {self.exception}"
        raise AttributeError(f"{name}{why}")

    def __reduce__(self) -> tuple[type[FailedResponse], tuple[RequestFailed | InvalidRequest]]:
        return type(self), (self.exception,)


def response_of(answer: Answer) -> Response:
    """The response that an answer holds, or the error."""
    if answer.status >= 400:
        return FailedResponse(_provider_error(answer))
    document = _document(answer.body)
    return document if isinstance(document, Response) else Response(body=document)


def _document(body: bytes) -> Any:
    try:
        return json.loads(body, object_hook=Response)
    except ValueError:  # an integer longer than Python reads, or no JSON at all
        pass
    try:
        return json.loads(body, object_hook=Response, parse_int=float)
    except ValueError:
        return body.decode(errors="replace")


def _provider_error(answer: Answer) -> ProviderError:
    body = parsed_body(answer.body)
    said = body.get("error") if isinstance(body, dict) else None
    said = said if isinstance(said, dict) else {"message": body}
    return ProviderError(
        f"HTTP {answer.status}: {said.get('message')}",
        status=answer.status,
        body=body,
        code=str(said.get("code") or said.get("type") or answer.status),
        attempts=answer.attempts,
        key_name=answer.key_name,
        request_id=answer.request_id,
    )


def _error_document(exception: RequestFailed | InvalidRequest) -> Response:
    """The provider's own words where it has answered."""
    if isinstance(exception, ProviderError) and isinstance(exception.body, dict):
        said = exception.body.get("error")
        if isinstance(said, dict):
            return Response(said)
    param = exception.field if isinstance(exception, InvalidRequest) else None
    kind = "invalid_request_error" if isinstance(exception, InvalidRequest) else "request_failed"
    return Response(message=str(exception), type=kind, param=param, code=exception.code)
