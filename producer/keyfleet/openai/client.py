"""`OpenAI` of the official package, whose calls go through the fleet."""

from __future__ import annotations

from typing import Any

from keyfleet.openai.construction import official_arguments, our_words, without_retries
from keyfleet.openai.fleet_source import CallFleet, Keys
from keyfleet.openai.official import openai
from keyfleet.openai.transport import SyncFleetClient

__all__ = ["OpenAI"]


class OpenAI(openai.OpenAI):
    """The official client with all keys of the fleet behind it, for any number of threads.

        client = OpenAI(keys="keys.yaml")
        client.chat.completions.create(model="gpt-4o-mini", messages=[...])

    Every call that is a POST with a JSON body works. Lists of prompts and inputs are spread over the keys.
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
        """`fleet` is a `keyfleet.Fleet`; or `broker_url` and `keys` make one that is closed with this client; without
        them all clients of the process share one, from the environment.

        `timeout` is the time until the answer, waiting for quota included; None, the default, waits as long as it
        takes. `max_retries` N lets the fleet make N+1 attempts, by default as many as its settings say. The official
        client's other arguments are accepted; those about keys and addresses (`api_key`, `organization`, `project`,
        `base_url`, …) have no meaning, since the fleet's keys have their own, and headers don't reach the provider.

        Raises ConfigurationError for `http_client` and `provider`, which can't be had.
        """
        arguments = official_arguments(
            SyncFleetClient,
            fleet=fleet,
            broker_url=broker_url,
            keys=keys,
            http_client=http_client,
            max_retries=max_retries,
            official=official,
        )
        super().__init__(timeout=timeout, **arguments)

    def request(self, cast_to: Any, options: Any, *arguments: Any, **more: Any) -> Any:
        """One call. The official client's errors, of which those without an answer speak in the fleet's words."""
        with our_words():
            return super().request(cast_to, without_retries(options, self.max_retries), *arguments, **more)
