"""Clients that others have written, where the quota is used up and the gateway lets calls wait for two seconds only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import openai as official
import pytest

from keyfleet.sim import SimLimit
from support.events import wait_until
from support.gateway_clients import CLIENTS, NPM, Sightings, name_of_error, start_client
from support.gateway_process import API_KEY, KEY_NAMES, GatewayProcess, gateway_process
from support.official_releases import LATE_1, NEWEST, cache_directory
from support.sightings import SCARCE_MODEL

SCARCE = (SimLimit.parse("requests", "1/600 second"),)
SOON_AGAIN = (SimLimit.parse("requests", "1/4 second"),)
QUOTA_MODELS = {client: f"soon-again-{number}" for number, client in enumerate(CLIENTS)}

MOST_RETRY_AFTER = "60"
"""The longest wait that a client is told, in seconds; more than that the official ones don't heed."""

TRYING_AGAIN = (LATE_1, NEWEST, NPM)
"""Clients that try again by themselves, and let their users see it."""


def use_up(gateway: GatewayProcess) -> None:
    """One call for each key, and then more until the gateway knows of the wait."""
    with official.OpenAI(base_url=gateway.base_url, api_key=API_KEY, max_retries=0) as client:

        def refusal() -> str | None:
            """How long it is told to wait, in seconds; None where it is answered."""
            try:
                client.chat.completions.create(model=SCARCE_MODEL, messages=[{"role": "user", "content": "mine"}])
            except official.RateLimitError as refused:
                return str(refused.response.headers["retry-after"])
            return None

        for _ in KEY_NAMES:
            wait_until(lambda: refusal() is None, "a key has answered")
        wait_until(lambda: refusal() == MOST_RETRY_AFTER, "the gateway knows how long the wait is")


@pytest.fixture
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    models = {SCARCE_MODEL: SCARCE, **dict.fromkeys(QUOTA_MODELS.values(), SOON_AGAIN)}
    with gateway_process(tmp_path_factory.mktemp("gateway"), models, "--max-wait", "2s") as gateway:
        use_up(gateway)
        yield gateway


@pytest.fixture
def all_seen(gateway: GatewayProcess, pytestconfig: pytest.Config) -> Iterator[list[Sightings]]:
    """What all clients see at once."""
    cache = cache_directory(pytestconfig)
    with ExitStack() as stack:
        seen = []
        for client, model in QUOTA_MODELS.items():
            seen.append(start_client(client, cache, gateway, ("used_up", "asked_again"), QUOTA_MODEL=model))
            stack.callback(seen[-1].end)
        yield seen


def test_clients_are_told_when_to_come_again_and_are_answered_then(
    all_seen: list[Sightings], gateway: GatewayProcess
) -> None:
    for seen in all_seen:
        refused = {"error": name_of_error(seen.name, "RateLimitError"), "status": 429, "code": "rate_limit_exceeded"}
        assert seen["used_up"] == {**refused, "retry_after": MOST_RETRY_AFTER}, seen.name
        assert seen["asked_again"] == ([200, 200, 429, 200] if seen.name in TRYING_AGAIN else None), seen.name
    stats = gateway.sim.stats()
    assert stats["over_limit"] == 0
    assert stats["requests"] == len(KEY_NAMES) + 3 * len(TRYING_AGAIN), "a call that waits is not sent"
