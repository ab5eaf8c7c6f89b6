"""`AsyncOpenAI` of the official package, whose calls go through the fleet."""

from __future__ import annotations

from typing import Any

from keyfleet.openai.construction import official_arguments, our_words, without_retries
from keyfleet.openai.fleet_source import CallFleet, Keys
from keyfleet.openai.official import openai
from keyfleet.openai.transport import AsyncFleetClient

__all__ = ["AsyncOpenAI"]


class AsyncOpenAI(openai.AsyncOpenAI):
    """The official asynchronous client with all keys of the fleet behind it, for any number of calls at once.

        async with AsyncOpenAI(keys="keys.yaml") as client:
            await asyncio.gather(*(client.embeddings.create(model="text-embedding-3-small", input=t) for t in texts))

    A call that is cancelled is taken back, unpaid, unless it is being sent just then.
    """

    def __init__(
        self,
        *,
        fleet: CallFleet | None = None,
        broker_url: str | None = None,
        keys: Keys | None = None,
        timeout: Any = None,
        max_retries: int | None = None,
        http_client: Any = None,
        **official: Any,
    ) -> None:
        """As `OpenAI`."""
        arguments = official_arguments(
            AsyncFleetClient,
            fleet=fleet,
            broker_url=broker_url,
            keys=keys,
            http_client=http_client,
            max_retries=max_retries,
            official=official,
        )
        super().__init__(timeout=timeout, **arguments)

    async def request(self, cast_to: Any, options: Any, *arguments: Any, **more: Any) -> Any:
        """One call. The official client's errors, of which those without an answer speak in the fleet's words."""
        with our_words():
            return await super().request(cast_to, without_retries(options, self.max_retries), *arguments, **more)
