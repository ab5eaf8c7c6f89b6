"""A real server for the tests that need one: started once per process of the test run, emptied before each test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from keyfleet.broker import connect
from keyfleet.embedded import EmbeddedServer


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """The embedded server in a state directory of its own. It is the last user that ends it."""
    with (
        tempfile.TemporaryDirectory(prefix="kf-", ignore_cleanup_errors=True) as state_dir,
        EmbeddedServer(Path(state_dir)) as running,
    ):
        client = connect(running.url)
        client.config_set("appendfsync", "no")  # only what is under test here needs to be on disk at once
        client.close()
        yield running


@pytest.fixture
def client(server: EmbeddedServer) -> Iterator[redis.Redis]:
    """A client of the real server, which is empty."""
    client = connect(server.url)
    client.flushall()
    yield client
    client.config_set("maxmemory", "0")
    client.close()
