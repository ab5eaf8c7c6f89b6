"""What both clients do with their arguments, with the fleet in place of keys, addresses and retries."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from keyfleet.api.reading import ATTEMPTS_HEADER
from keyfleet.errors import ConfigurationError, KeyfleetError
from keyfleet.openai.fleet_source import CallFleet, Keys, find_fleet
from keyfleet.openai.official import openai

__all__ = ["FLEETS_OWN_RETRIES", "FleetsOwnRetries", "official_arguments", "our_words", "without_retries"]

_PLACEHOLDER_KEY = "the-fleet-has-the-keys"
_BASE_URL = "https://api.openai.com/v1"
"""Never asked; requests need an address to be made of."""

_MOST_ATTEMPTS = 1_000_000
"""Stands for `max_retries=math.inf`."""


class FleetsOwnRetries(int):
    """`max_retries` of a client that leaves it to the fleet. A number, since copies of the client are given it."""


FLEETS_OWN_RETRIES = FleetsOwnRetries(2)


def official_arguments(
    kind: type[Any],
    *,
    fleet: CallFleet | None,
    broker_url: str | None,
    keys: Keys | None,
    http_client: Any,
    max_retries: int | None,
    official: dict[str, Any],
) -> dict[str, Any]:
    """The arguments of the official constructor. Raises ConfigurationError for what the fleet can't do.

    `http_client` of `kind` is that of a client which is being copied: its fleet is shared.
    """
    if http_client is None:
        http_client = kind(find_fleet(fleet, broker_url, keys))
    elif not isinstance(http_client, kind):
        raise ConfigurationError(
            "http_client: can't be given, since calls go through the fleet; proxies, addresses and timeouts of the way "
            "to a provider are set for each key",
            setting="http_client",
        )
    elif fleet is not None or broker_url is not None or keys is not None:
        raise ConfigurationError("http_client: has its fleet; leave out fleet, broker_url and keys", setting="fleet")
    if official.get("provider") is not None:
        raise ConfigurationError("provider: can't be given; a key's `provider` says what it is for", setting="provider")
    arguments = {**official, "api_key": _PLACEHOLDER_KEY, "http_client": http_client}
    arguments.pop("workload_identity", None)
    if not arguments.get("base_url") and not arguments.get("data_residency"):
        arguments["base_url"] = _BASE_URL
    arguments["max_retries"] = FLEETS_OWN_RETRIES if max_retries is None else max_retries
    return arguments


def without_retries(options: Any, max_retries: float) -> Any:
    """One call's options with which the official client tries once, and tells the fleet how often to do so."""
    options = copy.copy(options)
    wanted = options.get_max_retries(max_retries)
    options.max_retries = 0
    if not isinstance(wanted, FleetsOwnRetries):
        given = options.headers if isinstance(options.headers, Mapping) else {}
        attempts = str(int(min(max(wanted, 0) + 1, _MOST_ATTEMPTS)))
        options.headers = {ATTEMPTS_HEADER: attempts, **given}
    return options


@contextmanager
def our_words() -> Iterator[None]:
    """Let errors without an answer say what the fleet said, and errors of the configuration be what they are."""
    try:
        yield
    except openai.APIConnectionError as error:
        reason = error.__cause__
        if reason is None or not isinstance(reason.__cause__, KeyfleetError):
            raise
        if isinstance(reason.__cause__, ConfigurationError):
            raise reason.__cause__ from None
        error.message = str(reason)
        error.args = (error.message,)
        raise
