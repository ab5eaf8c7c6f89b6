"""The fleets of a server: a shared one has those that teams have named, the embedded one a fleet for each run."""

from __future__ import annotations

import hashlib
import re
from itertools import islice
from typing import cast

import redis

from keyfleet import redis_keys
from keyfleet.config import Environment, KeySource

__all__ = ["fleets_with_jobs", "forget_fleet", "keys_fleet", "run_fleet"]

FLEET_ID_CHARACTERS = 24
"""How much of a job's id names its fleet on the embedded server."""

RUN_PREFIX = "run-"

SCAN_COUNT = 1000
"""How many keys one step of a scan looks at."""

UNLINK_AT_ONCE = 500
"""Keys removed in one round trip."""

_JOBS = re.compile(re.escape(redis_keys.jobs("\0")).replace("\0", "([A-Za-z0-9_-]+)"))


def run_fleet(job_id: str) -> str:
    """The fleet of a run on the embedded server: one of its own, so that runs never use each other's keys."""
    return f"{RUN_PREFIX}{job_id[:FLEET_ID_CHARACTERS]}"


def keys_fleet(source: KeySource, env: Environment) -> str:
    """The fleet on the embedded server of all programs that use the same keys, and of no others.

    A keys file counts by its name, other keys by what they are; nothing can be told from the name.
    """
    parts = [str(source.path.resolve())] if source.path is not None else []
    for key in source.keys if source.path is None else ():
        parts += [key.name, key.base_url, *(env.get(name) or name for name in key.api_key.variables)]
    digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=FLEET_ID_CHARACTERS // 2)
    return f"{RUN_PREFIX}{digest.hexdigest()}"


def fleets_with_jobs(client: redis.Redis) -> list[str]:
    """The fleets that have jobs, of all the server. Raises redis.RedisError."""
    keys = client.scan_iter(match=redis_keys.jobs("*"), count=SCAN_COUNT)
    found = (_JOBS.fullmatch(key.decode(errors="replace")) for key in keys)
    return sorted({match[1] for match in found if match})


def forget_fleet(client: redis.Redis, fleet: str, *, keep_jobs: bool) -> None:
    """Remove everything of a fleet whose workers have ended; `keep_jobs`: but for the records of its jobs."""
    kept = redis_keys.jobs(fleet).removesuffix("s").encode()
    keys = client.scan_iter(match=f"{redis_keys.fleet_prefix(fleet)}*", count=SCAN_COUNT)
    gone = (key for key in cast("list[bytes]", keys) if not (keep_jobs and key.startswith(kept)))
    while batch := list(islice(gone, UNLINK_AT_ONCE)):
        client.unlink(*batch)
