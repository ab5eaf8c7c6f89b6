"""What the workers say of themselves, as a producer reads it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, cast

import redis

from keyfleet import redis_keys
from keyfleet.checked_json import is_number
from keyfleet.config import best_pattern
from keyfleet.contract import TOO_LARGE_FOR_KEY
from keyfleet.ledger import model_of

__all__ = ["FleetStatus", "KeyStanding", "LimitStatus", "Probed", "WorkerStatus", "read_fleet_status"]


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """One limit of a quota: `used` of `amount` of `unit` in the last `window_s`."""

    quota: str
    unit: str
    amount: int
    window_s: int
    used: int


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """How a worker's key stands: `ready`, or what holds it, and why. `rest_s` None: until something changes."""

    state: str = "ready"
    reason: str = ""
    rest_s: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe brought that somebody had asked for, and how long ago."""

    words: str
    ago_s: float


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker process.

    `standings` maps queues to `serves`, `lost` (its model) or `other` (its key serves other models). `waits` maps
    queues to (reason, end by this host's wall clock in seconds since the epoch). `has_left`: it has given its key up,
    for the reason that `key` says. `models` are the names, or patterns of them, that its key serves. `errors` counts
    calls since its start that brought nothing to use, by kind.
    """

    key_name: str
    host: str
    in_flight: int
    slots: int
    short_of_slots: bool
    waits: dict[str, tuple[str, float]]
    limits: tuple[LimitStatus, ...]
    totals: dict[str, int]
    key: KeyStanding = KeyStanding()
    standings: dict[str, str] = field(default_factory=dict)
    has_left: bool = False
    models: tuple[str, ...] = ()
    pid: int = 0
    sent_last_minute: int = 0
    tokens_last_minute: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    probed: Probed | None = None

    @property
    def lost_queues(self) -> list[str]:
        """The queues whose model its key was told it can't use."""
        return [queue for queue, standing in self.standings.items() if standing == "lost"]

    def serves(self, queue: str) -> bool:
        """Whether its key serves the model of `queue`, which it may not have found yet."""
        standing = self.standings.get(queue)
        return standing == "serves" or (standing is None and best_pattern(self.models, model_of(queue)) is not None)

    def wait_s(self, queue: str, now_s: float) -> float | None:
        """How long until it is likely to start something of `queue` (s); None where that isn't known.

        Nobody knows when a key that was set aside comes back, nor when something comes that a key with small limits
        can start. A key's rest counts from when it was told, so the estimate is late by a second or so.
        """
        reason, until_s = self.waits.get(queue, ("", now_s))
        if self.key.rest_s is None or reason == TOO_LARGE_FOR_KEY:
            return None
        return max(0.0, self.key.rest_s, until_s - now_s)


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """All workers that are alive, and those that have lately left keys which can't be used."""

    workers: tuple[WorkerStatus, ...] = ()
    left: tuple[WorkerStatus, ...] = ()

    def waits(self, queues: set[str]) -> dict[str, int]:
        """How many workers wait for each reason on any of `queues` now."""
        now_s = time.time()
        reasons: dict[str, int] = {}
        for worker in self.workers:
            for queue, (reason, until_s) in worker.waits.items():
                if queue in queues and until_s > now_s:
                    reasons[reason] = reasons.get(reason, 0) + 1
        return reasons

    def serving(self, queue: str) -> int:
        """How many keys serve the model of `queue` now."""
        return len({worker.key_name for worker in self.workers if worker.standings.get(queue) == "serves"})

    def wait_s(self, queue: str, now_s: float) -> float | None:
        """How long until some key that serves the model of `queue` is likely to start something again (s).

        0.0 where one need not wait, None where nothing is known: no worker serves the model, or none of those that do
        knows when it can go on. `now_s` is this host's wall clock. How much is ready before a new request isn't
        counted in: it is the least wait, not the likely one.
        """
        waits_s = (worker.wait_s(queue, now_s) for worker in self.workers if worker.serves(queue))
        return min((wait_s for wait_s in waits_s if wait_s is not None), default=None)

    def all_keys_refused(self) -> str | None:
        """What the providers say, where they refuse every key; None where one is not refused, or no worker is known."""
        if not self.workers or any(worker.key.state != "revoked" for worker in self.workers):
            return None
        return "; ".join(sorted({f"{worker.key_name}: {worker.key.reason}" for worker in self.workers}))


def read_fleet_status(client: redis.Redis, fleet: str) -> FleetStatus:
    """The present status of `fleet`: of every worker whose own, which expires, still stands. Raises redis.RedisError.

    What a worker of another version says and this one can't read is left out.
    """
    ids = cast("list[bytes]", client.zrange(redis_keys.workers(fleet), 0, -1))
    if not ids:
        return FleetStatus()
    names = [redis_keys.worker(fleet, name.decode(errors="replace")) for name in ids]
    texts = cast("list[bytes | None]", client.mget(names))
    found = [worker for text in texts if text is not None and (worker := _worker(text)) is not None]
    return FleetStatus(
        tuple(worker for worker in found if not worker.has_left), tuple(worker for worker in found if worker.has_left)
    )


def _worker(text: bytes) -> WorkerStatus | None:
    try:
        fields: dict[str, Any] = json.loads(text)
        now_s = time.time()  # hosts' clocks differ, so workers tell how long their waits still last
        return WorkerStatus(
            key_name=fields["key"],
            host=fields["host"],
            in_flight=fields["in_flight"],
            slots=fields["slots"],
            short_of_slots=fields["short_of_slots"],
            waits={queue: (str(wait[0]), now_s + _duration_s(wait[1])) for queue, wait in fields["waits"].items()},
            limits=tuple(LimitStatus(**limit) for limit in fields["limits"]),
            totals=fields["totals"],
            key=_standing(fields["state"]),
            standings=dict(fields["queues"]),
            has_left=fields["has_left"],
            models=tuple(map(str, fields.get("models", ()))),
            **_newer(fields),
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _newer(fields: dict[str, Any]) -> dict[str, Any]:
    """What workers of older versions don't tell."""
    pace, probed = fields.get("pace", {}), fields.get("probed")
    return {
        "pid": int(fields.get("pid", 0)),
        "sent_last_minute": int(pace.get("requests", 0)),
        "tokens_last_minute": int(pace.get("tokens", 0)),
        "errors": {str(kind): int(count) for kind, count in fields.get("errors", {}).items()},
        "probed": Probed(str(probed["words"]), _duration_s(probed["ago_s"])) if probed else None,
    }


def _standing(fields: dict[str, Any]) -> KeyStanding:
    rest_s = fields["rest_s"]
    return KeyStanding(str(fields["name"]), str(fields["reason"]), None if rest_s is None else _duration_s(rest_s))


def _duration_s(value: Any) -> float:
    """Raises ValueError for what is no finite number of 0 or more."""
    if not is_number(value):
        raise ValueError("expected a duration")
    return float(value)
