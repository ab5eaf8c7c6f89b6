"""A scripted provider, and clients of it; the clock that calls go by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from keyfleet.config import Provider
from keyfleet_workers.provider import ProviderClient
from keyfleet_workers.provider.client import ReadOnceEnvironment
from support.call_case import clock
from support.flower_case import answers
from support.housekeeping_case import housekeeping
from support.scripted_server import Key, MakeClient, ScriptedServer

__all__ = ["answers", "clock", "housekeeping", "make_client", "provider"]


@pytest.fixture
def provider() -> Iterator[ScriptedServer]:
    """A provider that does what its script says."""
    provider = ScriptedServer()
    yield provider
    provider.close()


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    """Makes clients with a made-up key, without the environment's proxies."""
    clients: list[ProviderClient] = []

    def make(
        base_url: str,
        proxy_url: str | None = None,
        *,
        provider: Provider = "openai",
        api_version: str | None = None,
        **options: Any,
    ) -> ProviderClient:
        key = Key(base_url, proxy_url, provider=provider, api_version=api_version)
        settings = {"connect_timeout_s": 5.0, "environment": ReadOnceEnvironment({}, True), **options}
        clients.append(ProviderClient(key, **settings))
        return clients[-1]

    yield make
    for client in clients:
        client.close()
