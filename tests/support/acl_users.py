"""A broker that lets in the users of docs/operations.md only, as that very file describes them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from support.forwarder import Forwarder
from support.server import ServerProcess

__all__ = ["FLOWER", "MONITOR", "OPERATIONS", "PRODUCER", "WORKER", "GuardedBroker", "documented_users", "guarded"]

PRODUCER, WORKER, MONITOR, FLOWER = "keyfleet-producer", "keyfleet-worker", "keyfleet-monitor", "keyfleet-flower"

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"

BEYOND = {"config|get"}
"""What workers try and can do without."""

ADMIN_PASSWORD = "the-tests-own"


def documented_users() -> dict[str, list[str]]:
    """The rules of each user in the documentation."""
    commands = [shlex.split(line) for line in re.findall(r"^ACL SETUSER .*$", OPERATIONS.read_text(), re.MULTILINE)]
    return {command[2]: command[3:] for command in commands}


@dataclass(frozen=True, slots=True)
class GuardedBroker:
    """`admin` is a client that may do everything."""

    port: int
    admin: redis.Redis

    def url(self, user: str) -> str:
        """The broker's address for a documented user."""
        password = f"{user.removeprefix('keyfleet-').upper()}-PASSWORD"
        return f"redis://{user}:{password}@127.0.0.1:{self.port}/0"

    def denied(self) -> list[str]:
        """What users tried and may not do."""
        entries: Any = self.admin.acl_log(count=100)
        return [f"{entry['username']}: {entry['object']}" for entry in entries if entry["object"] not in BEYOND]


@pytest.fixture
def guarded(broker: ServerProcess) -> Iterator[GuardedBroker]:
    """The guarded broker."""
    with broker.client() as client:
        for name, rules in documented_users().items():
            client.execute_command("ACL SETUSER", name, *rules)
        client.execute_command("ACL SETUSER", "default", "resetpass", f">{ADMIN_PASSWORD}")
    forwarder = Forwarder(broker.socket_path)
    with redis.Redis.from_url(f"unix://:{ADMIN_PASSWORD}@{broker.socket_path}") as admin:
        yield GuardedBroker(urlsplit(forwarder.url).port or 0, admin)
    forwarder.close()
