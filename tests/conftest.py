"""What all tests share: a clean environment, a steady profile of hypothesis, and a stand-in for the server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from fakeredis import _helpers
from fakeredis._socket import _base
from fakeredis.commands_mixins import server_mixin
from fakeredis.model import _stream
from hypothesis import HealthCheck, settings

from support.stand_in import ServerClock, StandIn

settings.register_profile(
    "keyfleet",
    deadline=None,  # a busy machine is no failure
    max_examples=50,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("keyfleet")

PURGED_PREFIXES = ("KEYFLEET_", "OPENAI_", "AZURE_", "ANTHROPIC_")
PURGED_NAMES = frozenset(
    {
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "requests_ca_bundle",
        "curl_ca_bundle",
        "ssl_cert_file",
        "requests_per_min_limit",
        "tokens_per_min_limit",
        "attempts_per_prompt",
    }
)


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """No variable of the person who runs the tests reaches them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(PURGED_PREFIXES) or name.lower() in PURGED_NAMES:
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def server_clock() -> Iterator[ServerClock]:
    """The one clock of all stand-in servers; for the whole session, so that hypothesis may use it."""
    clock = ServerClock()
    with pytest.MonkeyPatch.context() as patch:
        for module in (_helpers, _base, server_mixin, _stream):
            patch.setattr(module, "time", clock)
        yield clock


@pytest.fixture(scope="session")
def stand_in(server_clock: ServerClock) -> StandIn:
    """Where tests get their stand-in servers."""
    return StandIn(server_clock)
