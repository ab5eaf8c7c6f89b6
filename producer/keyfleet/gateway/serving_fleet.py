"""What the gateway needs of a Fleet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol

from keyfleet.api.replies import AnswerFacts
from keyfleet.calls import Answer
from keyfleet.calls.spread_sending import SendOptions, SendsCalls

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["ServingFleet", "StreamedAnswer"]


class StreamedAnswer(AnswerFacts, Protocol):
    """An answer that comes in pieces: whole server-sent events, as the provider sends them.

    Going through it raises RequestFailed where it breaks off. `aclose` stops the call at the provider.
    """

    @property
    def status(self) -> int: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


class ServingFleet(SendsCalls, Protocol):
    """A `keyfleet.Fleet`, as far as the gateway uses it."""

    async def asend_stream(self, endpoint: str, body: bytes, **options: Unpack[SendOptions]) -> Answer | StreamedAnswer:
        """Send one call whose body asks for a stream; an Answer where the provider has answered as a whole."""
        ...

    def lanes(self, model: str) -> int:
        """How many keys serve the model."""
        ...

    async def amodels(self) -> list[dict[str, Any]]:
        """The models of all keys, as OpenAI lists them."""
        ...

    def wait_estimate_s(self, model: str) -> float | None:
        """How long until some key may start a call of `model` (s); None where nothing is known."""
        ...

    def why_waiting(self, model: str) -> str:
        """Why calls of `model` wait."""
        ...

    def readiness(self) -> str:
        """Why calls can't be made now; empty where they can."""
        ...
