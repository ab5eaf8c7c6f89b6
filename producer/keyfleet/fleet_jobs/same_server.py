"""On which broker a job is: what another one may have of it can't be known, so that it might be paid for twice."""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import replace
from typing import Any, cast

import redis
from redis import connection as redis_connection

from keyfleet import redis_keys
from keyfleet.errors import ConfigurationError
from keyfleet.fleet_jobs.folder import JobSpec
from keyfleet.running.connection import Connection

__all__ = ["address_of", "check_same_server", "noting_server"]

_read_url: Any = redis_connection.parse_url  # it has no types


def check_same_server(connection: Connection, spec: JobSpec) -> None:
    """Raises ConfigurationError where a job was begun on another broker, redis.RedisError where this can't be told.

    A server is the same under another address if it still has the name that it was given. One that has lost its data
    has lost that name too, so its address alone is enough.
    """
    if connection.backend.server is not None or spec.server in ("", address_of(connection.backend.url)):
        return
    if not spec.server_id or _name(connection.client, spec.fleet) != spec.server_id:
        raise ConfigurationError(
            f"job {spec.job_id[:8]} was begun on the broker at {spec.server}; go on with it there", setting="broker_url"
        )


def noting_server(connection: Connection, spec: JobSpec) -> JobSpec:
    """The same job, now on the broker of `connection`; the embedded server is told by `is_embedded`."""
    if connection.backend.server is not None:
        return spec
    name = _given_name(connection.client, spec.fleet)
    return replace(spec, server=address_of(connection.backend.url), server_id=name)


def address_of(url: str) -> str:
    """Where a broker is, without user and password: `host:port/database`, or a socket's path and the database."""
    parts = _read_url(url)
    place = parts["path"] if "path" in parts else f"{parts.get('host', 'localhost')}:{parts.get('port', 6379)}"
    return f"{place}/{parts.get('db', 0)}"


def _given_name(client: redis.Redis, fleet: str) -> str:
    with contextlib.suppress(redis.exceptions.OutOfMemoryError):  # a full server is known by its address
        client.hsetnx(redis_keys.server(fleet), "id", uuid.uuid4().hex)
    return _name(client, fleet)


def _name(client: redis.Redis, fleet: str) -> str:
    return (cast("bytes | None", client.hget(redis_keys.server(fleet), "id")) or b"").decode()
