"""What a worker tells the fleet about itself: its key, how full its limits are, and what each queue waits for."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

import redis

from keyfleet import redis_keys
from keyfleet.config import ANY_MODEL
from keyfleet.contract import Cost
from keyfleet.ledger import model_of
from keyfleet.redis_keys import QueueKeys
from keyfleet.scripts import Script, load_source
from keyfleet_workers.asked_probe import AskedProbe
from keyfleet_workers.binding import UNBOUNDED, KeyBinding
from keyfleet_workers.dispatch.calls import CallRunner
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.waits import Waits
from keyfleet_workers.holds import KeyState
from keyfleet_workers.key_watch import KeyWatch
from keyfleet_workers.limiter import ExactRedisStorage
from keyfleet_workers.pace import Pace

__all__ = ["STATUS_LIFE_MS", "WorkerStatus"]

STATUS_LIFE_MS = 10_000
"""A worker that has said nothing for this long is no longer counted (ms)."""

CAPACITY_LIFE_MS = 900_000
"""What a key can start is counted on for so long after its worker was heard last (ms): hosts are restarted, and a key
that is set aside comes back. Meanwhile a request that only this key can serve waits."""

FACTS_LIFE_MS = 7 * 86_400_000
"""What can be told of a key without its secret stays for so long after the last worker was there (ms)."""

LEFT_LIFE_MS = 330_000
"""So long it is told why a worker has left its key, unless somebody serves the key again (ms): a supervisor tries a key
that was set aside again after five minutes at the latest."""


@dataclass(slots=True)
class WorkerStatus:
    """Writes one worker's status, as JSON that `keyfleet.running.fleet_status` reads."""

    client: redis.Redis
    fleet: str
    worker_id: str
    host: str
    binding: KeyBinding
    storage: ExactRedisStorage
    calls: CallRunner
    slots: CallSlots
    waits: Waits
    key_watch: KeyWatch
    probe: AskedProbe
    declare_flags: bool = True
    _script: Script = field(init=False)
    _pace: Pace = field(init=False, default_factory=Pace)

    def __post_init__(self) -> None:
        source = load_source(("keyfleet_workers", "say_status.lua"), declare_flags=self.declare_flags)
        self._script = Script(self.client, source)

    def say(self, queues: list[str], now_ms: int) -> None:
        """Tell how the worker stands to each of the fleet's `queues`. Raises redis.RedisError.

        Times are the server's (`now_ms`): by the clock of a host that is behind, a live worker would look dead.
        """
        standings = self._standings(queues, now_ms)
        leaves = self.key_watch.leaves
        served = [queue for queue, standing in standings.items() if standing == "serves"]
        keys = [redis_keys.workers(self.fleet), redis_keys.worker(self.fleet, self.worker_id)]
        keys += [redis_keys.configured(self.fleet), redis_keys.key_facts(self.fleet)]
        status = json.dumps({**self._status(), "queues": standings, "has_left": leaves})
        largest = [_as_text(self.binding.quota(model_of(queue)).largest_cost()) for queue in served]
        self._script(
            [*keys, *(QueueKeys(self.fleet, queue).capacity for queue in served)],
            [
                *(self.worker_id, now_ms, LEFT_LIFE_MS if leaves else STATUS_LIFE_MS),
                *(status, self.binding.name, CAPACITY_LIFE_MS),
                *(FACTS_LIFE_MS, self._facts()),
                *largest,
            ],
        )

    def _standings(self, queues: list[str], now_ms: int) -> dict[str, str]:
        """Per queue whether the key serves it, lost its model, or serves other models."""
        pipeline = self.client.pipeline(transaction=False)
        for queue in queues:
            pipeline.hget(QueueKeys(self.fleet, queue).lost, self.binding.name)
        lost_until_ms = pipeline.execute() if queues else []
        standings = {}
        for queue, until_ms in zip(queues, lost_until_ms, strict=True):
            is_lost = until_ms is not None and int(until_ms) > now_ms
            serves = "lost" if is_lost else "serves"
            standings[queue] = serves if self.binding.serves(model_of(queue)) else "other"
        return standings

    def _status(self) -> dict[str, Any]:
        return {
            "key": self.binding.name,
            "models": list(self.binding.config.models) or [ANY_MODEL],
            "host": self.host,
            "pid": os.getpid(),
            "in_flight": self.slots.used,
            "slots": self.slots.size,
            "short_of_slots": self.slots.is_short(),
            "waits": self.waits.current(),
            "state": self._state(),
            "limits": self._limits(),
            "totals": dict(self.calls.totals),
            "errors": dict(self.calls.errors),
            "pace": self._pace.look(self.calls.sent, self.calls.tokens),
            "probed": self.probe.said(),
        }

    def _facts(self) -> str:
        """What others need to show the key, and to disable and enable it."""
        scopes, config = self.key_watch.scopes, self.binding.config
        facts = {
            "provider": config.provider,
            "group": config.group,
            "models": list(config.models) or [ANY_MODEL],
            "disabled": scopes.disabled,
            "scopes": [scope for scope in scopes.all() if scope != scopes.way],
            "ways": scopes.ways,
            "pools": [pool.name for pool in self.binding.pools()],
        }
        return json.dumps(facts)

    def _state(self) -> dict[str, Any]:
        """The key's gravest hold; `rest_s` None: until it is lifted."""
        hold = self.key_watch.present
        if hold is None:
            return {"name": KeyState.READY.value, "reason": "", "rest_s": 0.0}
        rest_s = None if hold.rest_ms is None else hold.rest_ms / 1000
        return {"name": hold.state.value, "reason": hold.reason, "rest_s": rest_s}

    def _limits(self) -> list[dict[str, Any]]:
        """Each limit once, although models may share it, with what is used of it now."""
        found = []
        for pool in self.binding.pools():
            used = self.storage.inspect(pool.limits, [0] * len(pool.limits)) if pool.limits else []
            for limit, (amount_used, _) in zip(pool.limits, used, strict=True):
                found.append(
                    {
                        "quota": pool.name,
                        "unit": limit.unit,
                        "amount": limit.amount,
                        "window_s": limit.window_ms // 1000,
                        "used": amount_used,
                    }
                )
        return found


def _as_text(largest: Cost) -> str:
    """The largest cost that a key can ever start, as `capacity.lua` reads it."""
    return f"{largest.tokens}" if largest.images >= UNBOUNDED else f"{largest.tokens}/{largest.images}"
