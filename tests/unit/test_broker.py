"""Connections to the broker, and what is said when there is none."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from keyfleet.broker import celery_url, check_server, connect
from keyfleet.errors import BrokerUnavailable
from keyfleet.scripts import load_source

URL = "redis://somebody:p4ssw0rd@broker.example:6379/0"


class Server:
    """Answers INFO, or fails."""

    def __init__(self, answer: dict[str, Any] | redis.RedisError) -> None:
        self._answer = answer

    def info(self, section: str) -> dict[str, Any]:
        assert section == "server"
        if isinstance(self._answer, redis.RedisError):
            raise self._answer
        return self._answer


def check(answer: dict[str, Any] | redis.RedisError) -> None:
    server: Any = Server(answer)
    check_server(server, URL)


@pytest.mark.parametrize("version", ["7.0.0", "7.2.4", "8.0.0", "10.1.2"])
def test_a_new_enough_server_is_taken(version: str) -> None:
    check({"redis_version": version})


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"redis_version": "6.2.14"}, "Redis 6.2.14; Redis 7 or Valkey is needed"),
        ({}, "Redis 7 or Valkey is needed"),
        (redis.AuthenticationError("WRONGPASS p4ssw0rd"), "refuses the password"),
        (redis.ConnectionError("p4ssw0rd"), "check KEYFLEET_BROKER_URL or --broker"),
        (redis.TimeoutError("p4ssw0rd"), "check KEYFLEET_BROKER_URL or --broker"),
    ],
)
def test_what_is_wrong_with_a_broker_is_said_without_its_password(
    answer: dict[str, Any] | redis.RedisError, says: str
) -> None:
    with pytest.raises(BrokerUnavailable) as found:
        check(answer)
    assert says in str(found.value)
    assert "broker.example" in str(found.value)
    assert "p4ssw0rd" not in str(found.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("unix:///run/server.sock", "redis+socket:///run/server.sock"),
        ("redis+socket:///run/server.sock", "redis+socket:///run/server.sock"),
        ("redis://host:6379/1", "redis://host:6379/1"),
        ("rediss://host", "rediss://host"),
    ],
)
def test_celery_spells_unix_sockets_in_its_own_way(url: str, expected: str) -> None:
    assert celery_url(url) == expected


@pytest.mark.parametrize("url", ["unix:///run/server.sock", "redis+socket:///run/server.sock"])
def test_both_spellings_of_a_unix_socket_are_understood(url: str) -> None:
    with connect(url) as client:
        assert client.connection_pool.connection_kwargs["path"] == "/run/server.sock"


def test_flags_of_all_joined_files_are_declared_once() -> None:
    lua = "keyfleet.ledger.lua"
    source = load_source((lua, "queue.lua"), (lua, "finish.lua"), (lua, "retry.lua"))
    assert source.startswith("#!lua flags=allow-oom\n")
    assert source.count("#!lua") == 1


def test_a_file_that_declares_no_flags_gets_none() -> None:
    lua = "keyfleet.ledger.lua"
    assert "#!lua" not in load_source((lua, "queue.lua"), (lua, "accept.lua"))
    assert "#!lua" not in load_source((lua, "queue.lua"), (lua, "finish.lua"), declare_flags=False)
