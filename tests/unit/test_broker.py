"""Connections to the broker, and what is said when there is none."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import redis
from kombu.utils.url import parse_url

from keyfleet.broker import celery_url, check_server, connect
from keyfleet.broker_address import check_address
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
        (redis.AuthenticationError("WRONGPASS p4ssw0rd"), "refuses the user or password"),
        (redis.exceptions.NoPermissionError("NOPERM p4ssw0rd"), "docs/operations.md has the ACL"),
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
        ("unix://me:p%40ss@/run/server.sock?db=3", "redis+socket://me:p%40ss@/run/server.sock?virtual_host=3"),
        ("redis://host:6379/1", "redis://host:6379/1"),
        ("redis://[::1]:7000", "redis://[::1]:7000/0"),
        ("redis://host/?password=p%2Fw&username=me&db=2&socket_timeout=3", "redis://me:p%2Fw@host:6379/2"),
        ("rediss://host", "rediss://host:6379/0?ssl_cert_reqs=CERT_REQUIRED"),
        ("REDISS://host?ssl_cert_reqs=none", "rediss://host:6379/0?ssl_cert_reqs=CERT_NONE"),
        (
            "rediss://host?ssl_ca_certs=/a%20b/ca.pem&ssl_check_hostname=0",
            "rediss://host:6379/0?ssl_cert_reqs=CERT_REQUIRED&ssl_check_hostname=false&ssl_ca_certs=%2Fa+b%2Fca.pem",
        ),
    ],
)
def test_celery_spells_addresses_in_its_own_way(url: str, expected: str) -> None:
    assert celery_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:p%40s%2Fs%25@host:7000/3",
        "rediss://:pw@host:7000/3?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_check_hostname=no",
    ],
)
def test_celery_reads_from_its_spelling_what_redis_py_reads_from_ours(url: str) -> None:
    ours = connect(url).connection_pool.connection_kwargs
    theirs = parse_url(celery_url(url))
    assert (theirs["hostname"], theirs["port"], int(theirs["virtual_host"])) == (ours["host"], ours["port"], ours["db"])
    assert (theirs["userid"], theirs["password"]) == (ours.get("username"), ours["password"])
    tls = {name: value for name, value in ours.items() if name.startswith("ssl_")}
    expected = {**tls, "ssl_cert_reqs": ssl.CERT_REQUIRED} if url.startswith("rediss") else {}
    assert theirs.get("ssl", {}) == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "redis://",
        "redis://:p/s3cret@host:1",
        "redis://:p#s3cret@host:1",
        "redis://host:s3cret",
        "rediss:///0",
        "rediss://host?ssl_cert_reqs=s3cret",
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="expected") as found:
        check_address(url)
    assert "s3cret" not in str(found.value)
    assert found.value.__context__ is None


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
