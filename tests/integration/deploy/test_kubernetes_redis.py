"""deploy/kubernetes: a real server takes the Redis component's settings, and the users that make-secrets.sh makes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from keyfleet.broker import check_server, connect
from keyfleet.embedded.binary import find_server_binary
from support import wait_until
from support.kustomization import built, example_overlay, named


@dataclass(frozen=True, slots=True)
class Redis:
    """The component's server, on a socket, and the passwords of its users by part."""

    socket: Path
    passwords: dict[str, str]

    def client(self, part: str | None = None) -> redis.Redis:
        """A client as the user of a part, or as nobody."""
        user = f"keyfleet-{part}:{self.passwords[part]}@" if part else ""
        return connect(f"unix://{user}{self.socket}")

    def answers(self) -> bool:
        """What its readiness probe asks: nobody in particular may ping."""
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    directory = tmp_path_factory.mktemp("redis")
    overlay = example_overlay(directory)
    configuration = named(built(overlay), "ConfigMap")["keyfleet-redis"]["data"]["redis.conf"]
    (directory / "redis.conf").write_text(configuration.replace("dir /data", f"dir {directory}"), encoding="utf-8")
    secrets = overlay / "secrets"
    passwords = {path.name.removesuffix("-password"): path.read_text() for path in secrets.glob("*-password")}
    found = Redis(directory / "s.sock", passwords)
    here = ["--aclfile", secrets / "users.acl", "--port", "0", "--unixsocket", found.socket]
    command = [find_server_binary(), directory / "redis.conf", *here]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(found.answers, "the server answers")
            yield found
        finally:
            process.terminate()


def test_every_part_is_let_in_with_its_password(server: Redis) -> None:
    assert server.passwords.keys() >= {"producer", "worker", "flower", "monitor"}
    for part in server.passwords:
        with server.client(part) as client:
            check_server(client, "unix:///s.sock")


def test_who_has_no_password_may_ping_and_nothing_else(server: Redis) -> None:
    with server.client() as client:
        assert client.ping()
        for command in ("GET key", "INFO", "ACL WHOAMI", "CONFIG GET *", "KEYS *"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())


def test_no_user_may_do_everything(server: Redis) -> None:
    for part in server.passwords:
        with server.client(part) as client, pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command("FLUSHALL")


def test_it_writes_every_request_down_and_throws_none_away(server: Redis) -> None:
    with server.client("worker") as client:
        info = client.info()
    assert isinstance(info, dict)
    assert (info["aof_enabled"], info["maxmemory_policy"]) == (1, "noeviction")
    assert info["maxmemory"] == 2**30
