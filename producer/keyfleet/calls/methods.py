"""The methods of a Fleet that make calls."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from typing import Any

from keyfleet.calls.answer import Answer, Priority, answer_of
from keyfleet.calls.caller import Caller
from keyfleet.calls.streamed import StreamedAnswer
from keyfleet.calls.terms import CallTerms
from keyfleet.contract import Outcome
from keyfleet.errors import InvalidRequest
from keyfleet.results import error_of, parsed_body
from keyfleet.server_sent_events import documents_in

__all__ = ["CallMethods"]


class CallMethods:
    """All wait for quota as long as it takes, or `timeout_s` seconds at the most.

    They raise RequestFailed, of which ProviderError (the provider's final answer is an error: `status`, `code`,
    `body`), NoKeyServes, RequestTooLarge and DeadlineExceeded are kinds; InvalidRequest; BrokerUnavailable.
    """

    _caller: Caller

    def _check_process(self) -> None:
        raise NotImplementedError

    def call(
        self, endpoint: str, body: Mapping[str, Any], *, timeout_s: float | None = None, priority: Priority = "urgent"
    ) -> Any:
        """Send one request and wait for its response, whose document is returned. It overtakes the work of jobs."""
        return _document(self._caller.outcome(endpoint, _text(body), CallTerms.of(timeout_s, priority)))

    async def acall(
        self, endpoint: str, body: Mapping[str, Any], *, timeout_s: float | None = None, priority: Priority = "urgent"
    ) -> Any:
        """As `call`, for an event loop. Cancelling it takes the request back, and stops it where it is being sent."""
        self._check_process()  # before a thread is asked that a forked child hasn't got
        return _document(await self._caller.aoutcome(endpoint, _text(body), CallTerms.of(timeout_s, priority)))

    def stream(
        self, endpoint: str, body: Mapping[str, Any], *, timeout_s: float | None = None, priority: Priority = "urgent"
    ) -> Generator[Any, None, None]:
        """As `call` with `"stream": true`: the documents of the answer's events, as the provider sends them.

        Nothing is sent before the first is asked for. `timeout_s` is the time until it comes, and the longest silence
        behind it. An answer that ends in its midst raises StreamBroken, and is not asked for again; leaving the loop
        stops the call.
        """
        terms = CallTerms.of(timeout_s, priority)
        answer = _begun(self._caller.stream(endpoint, _text({**_mapping(body), "stream": True}), terms))
        if not isinstance(answer, StreamedAnswer):
            yield answer
            return
        with answer:
            for events in answer:
                yield from _shown(events)

    async def astream(
        self, endpoint: str, body: Mapping[str, Any], *, timeout_s: float | None = None, priority: Priority = "urgent"
    ) -> AsyncGenerator[Any, None]:
        """As `stream`, for an event loop."""
        self._check_process()
        terms = CallTerms.of(timeout_s, priority)
        answer = _begun(await self._caller.astream(endpoint, _text({**_mapping(body), "stream": True}), terms))
        if not isinstance(answer, StreamedAnswer):
            yield answer
            return
        with answer:
            async for events in answer:
                for document in _shown(events):
                    yield document

    def send(
        self,
        endpoint: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
        max_attempts: int | None = None,
        start_within_s: float | None = None,
        job: str | None = None,
    ) -> Answer:
        """As `call`, for a body that is JSON text already; a provider's final error is returned as an Answer too.

        A call that isn't started `start_within_s` seconds from now raises DeadlineExceeded; one that is has all the
        time of `timeout_s`. `job` is the name under which `keyfleet jobs` lists it.
        """
        terms = CallTerms.of(timeout_s, priority, max_attempts, start_within_s, job)
        return _answer(self._caller.outcome(endpoint, _checked(body), terms))

    async def asend(
        self,
        endpoint: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
        max_attempts: int | None = None,
        start_within_s: float | None = None,
        job: str | None = None,
    ) -> Answer:
        """As `send`, for an event loop."""
        self._check_process()
        terms = CallTerms.of(timeout_s, priority, max_attempts, start_within_s, job)
        return _answer(await self._caller.aoutcome(endpoint, _checked(body), terms))

    def send_stream(
        self,
        endpoint: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
        max_attempts: int | None = None,
        start_within_s: float | None = None,
        job: str | None = None,
    ) -> Answer | StreamedAnswer:
        """As `send`, for a body with `"stream": true`: the answer as soon as it begins; whole where it is an error, or
        where the provider doesn't stream."""
        terms = CallTerms.of(timeout_s, priority, max_attempts, start_within_s, job)
        return _streamed(self._caller.stream(endpoint, _checked(body), terms))

    async def asend_stream(
        self,
        endpoint: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
        max_attempts: int | None = None,
        start_within_s: float | None = None,
        job: str | None = None,
    ) -> Answer | StreamedAnswer:
        """As `send_stream`, for an event loop."""
        self._check_process()
        terms = CallTerms.of(timeout_s, priority, max_attempts, start_within_s, job)
        return _streamed(await self._caller.astream(endpoint, _checked(body), terms))


def _mapping(body: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(body, Mapping):
        raise InvalidRequest(
            f"body: expected a mapping, found {type(body).__name__}", code="invalid_json", field="body"
        )
    return body


def _text(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(_mapping(body), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"body: is no JSON: {error}", code="invalid_json", field="body") from None


def _checked(body: bytes) -> bytes:
    if not isinstance(body, bytes):
        raise InvalidRequest(f"body: expected bytes, found {type(body).__name__}", code="invalid_json", field="body")
    return body


def _document(outcome: Outcome) -> Any:
    error = error_of(outcome)
    if error is not None:
        raise error
    return parsed_body(outcome.body)


def _begun(found: Outcome | StreamedAnswer) -> Any:
    return found if isinstance(found, StreamedAnswer) else _document(found)


def _shown(events: bytes) -> Iterator[Any]:
    """Without an error in the answer's midst, which is raised behind the last of it."""
    for document in documents_in(events):
        is_error = isinstance(document, dict) and (document.get("error") or document.get("type") == "error")
        if not is_error or document.get("choices"):
            yield document


def _streamed(found: Outcome | StreamedAnswer) -> Answer | StreamedAnswer:
    return found if isinstance(found, StreamedAnswer) else _answer(found)


def _answer(outcome: Outcome) -> Answer:
    answer = answer_of(outcome)
    if answer is not None:
        return answer
    error = error_of(outcome)
    raise error if error is not None else AssertionError("an outcome is a response, an answer or an error")
