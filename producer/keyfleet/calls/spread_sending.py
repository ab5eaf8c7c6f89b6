"""Sends the parts of a spread call side by side, and makes one answer of theirs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypedDict

from keyfleet.calls.answer import Answer, Priority
from keyfleet.calls.spreading import Spread, spread
from keyfleet.errors import RequestTooLarge

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["SendOptions", "SendsCalls", "halves", "send_parts", "send_whole", "with_time_left"]

MOST_AT_ONCE = 2000
"""Parts of one call that are under way at once: more would fill the broker's memory and bring nothing sooner. No more
tasks than these are made, however long the list."""


class SendOptions(TypedDict, total=False):
    """The options of `Fleet.send`, each as it is by default where it is left out."""

    timeout_s: float | None
    priority: Priority
    max_attempts: int | None
    start_within_s: float | None
    job: str | None


class SendsCalls(Protocol):
    """What is needed of a Fleet."""

    async def asend(self, endpoint: str, body: bytes, **options: Unpack[SendOptions]) -> Answer:
        """Send one call and wait for its answer."""
        ...


class _PartFailed(Exception):
    """A provider's final error ended a part."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP {answer.status}")
        self.answer = answer


async def send_whole(fleet: SendsCalls, endpoint: str, body: bytes, options: SendOptions) -> Answer:
    """The answer to one call. A list that is too large for every limit is sent in halves, and these in halves again.

    Raises what `asend` raises, RequestTooLarge among it for what can't be divided.
    """
    began_s = time.monotonic()
    try:
        return await fleet.asend(endpoint, body, **options)
    except RequestTooLarge:
        parts = halves(endpoint, body)
        if parts is None:
            raise
        return await send_parts(fleet, endpoint, parts, with_time_left(options, began_s))


def halves(endpoint: str, body: bytes) -> Spread | None:
    """A call with a list as two; None where it has none."""
    return spread(endpoint, body, lambda model: 2)


def with_time_left(options: SendOptions, began_s: float) -> SendOptions:
    """The same options for what goes on with a call that began at `began_s` of the monotonic clock."""
    passed_s = time.monotonic() - began_s
    left: SendOptions = {**options}
    if (timeout_s := options.get("timeout_s")) is not None:
        left["timeout_s"] = max(timeout_s - passed_s, 0.001)
    if (start_within_s := options.get("start_within_s")) is not None:
        left["start_within_s"] = max(start_within_s - passed_s, 0.001)
    return left


def _of_a_later_part(options: SendOptions) -> SendOptions:
    """Once the first part is started the list is, and is brought to its end: the other parts may start when they can,
    since what has been paid for would be thrown away with a part that comes too late."""
    later: SendOptions = {**options}
    later.pop("start_within_s", None)
    return later


async def send_parts(fleet: SendsCalls, endpoint: str, parts: Spread, options: SendOptions) -> Answer:
    """The parts' answers as one, or the error of the first part in the list among those that have failed.

    As soon as one has failed the others are given up: what has not been sent of them is not paid for. `attempts` and
    `tokens` are those of all parts together; the request id is the first part's. Raises what `asend` raises.
    """
    began_s = time.monotonic()
    first, later = options, _of_a_later_part(options)
    places = iter(range(len(parts.bodies)))
    answers: dict[int, Answer] = {}
    failures: dict[int, BaseException] = {}

    async def send_one_after_another() -> None:
        for at in places:
            of_part = with_time_left(later if at else first, began_s)
            try:
                answers[at] = await send_whole(fleet, endpoint, parts.bodies[at], of_part)
                if answers[at].status >= 400:
                    raise _PartFailed(answers[at])
            except BaseException as error:
                failures[at] = error
                raise

    senders = [asyncio.ensure_future(send_one_after_another()) for _ in parts.bodies[:MOST_AT_ONCE]]
    try:
        await asyncio.wait(senders, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
    if failures:
        return _failed_answer([failures[at] for at in sorted(failures)])
    return await asyncio.to_thread(_one_answer, parts, [answers[at] for at in sorted(answers)])


def _failed_answer(failed: Sequence[BaseException]) -> Answer:
    """The provider's error of the first that was not merely given up; what was raised otherwise is raised again."""
    cause = next((error for error in failed if not isinstance(error, asyncio.CancelledError)), failed[0])
    if isinstance(cause, _PartFailed):
        return cause.answer
    raise cause


def _one_answer(parts: Spread, answers: Sequence[Answer]) -> Answer:
    names = dict.fromkeys(answer.key_name for answer in answers if answer.key_name)
    return Answer(
        status=answers[0].status,
        body=parts.merged([answer.body for answer in answers]),
        key_name=", ".join(names) or None,
        request_id=answers[0].request_id,
        attempts=sum(answer.attempts for answer in answers),
        tokens=sum(answer.tokens for answer in answers),
    )
