"""What may be done from anywhere in a fleet, without any secret: disable, enable and probe keys."""

from __future__ import annotations

import redis

from keyfleet import redis_keys
from keyfleet.errors import KeyfleetError
from keyfleet.running.fleet_status import read_fleet_status
from keyfleet_workers.asked_probe import PROBE_WISH_MS
from keyfleet_workers.holds import Holds
from keyfleet_workers.key_return import call_back, find_models
from keyfleet_workers.overview.facts import KeyFacts, read_facts

__all__ = ["KeyActions", "KeyNotKnown"]


class KeyNotKnown(KeyfleetError):
    """No worker has ever said what can be told of a key of this name."""


class KeyActions:
    """On the keys of one fleet, by name. Raises KeyNotKnown for a key that no worker has served yet, and
    redis.RedisError."""

    def __init__(self, client: redis.Redis, fleet: str, *, declare_flags: bool = True) -> None:
        self._client = client
        self._fleet = fleet
        self._declare_flags = declare_flags
        self._holds = Holds(client, declare_flags=declare_flags)

    def disable(self, key_name: str, reason: str) -> None:
        """Leave a key alone from now on, on all hosts."""
        self._holds.disable(self._facts(key_name).disabled, " ".join(reason.split()))

    def enable(self, key_name: str) -> bool:
        """End what holds the whole key, whatever it was set aside for; returns whether anything did."""
        facts = self._facts(key_name)
        hosts = {worker.host for worker in read_fleet_status(self._client, self._fleet).workers}
        lifted = self._holds.lift(*facts.key_scopes(hosts))
        found = find_models(self._client, self._fleet, key_name)
        call_back(self._client, self._fleet, [key_name], declare_flags=self._declare_flags)
        return bool(lifted or found)

    def probe(self, key_name: str) -> bool:
        """Have the key's worker ask its provider; False where no worker is there to do it."""
        self._facts(key_name)
        workers = read_fleet_status(self._client, self._fleet).workers
        if all(worker.key_name != key_name for worker in workers):
            return False
        self._client.set(redis_keys.probe_wanted(self._fleet, key_name), "1", px=PROBE_WISH_MS)
        return True

    def _facts(self, key_name: str) -> KeyFacts:
        facts = read_facts(self._client, self._fleet).get(key_name)
        if facts is None:
            raise KeyNotKnown(f"no worker has served a key named {key_name} yet, so nothing is known of it here")
        return facts
