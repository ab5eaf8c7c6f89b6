"""How configured keys stand in a fleet: states, limits with what is used of them, models, workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import redis

from keyfleet import redis_keys
from keyfleet.config import ANY_MODEL, KeyConfig
from keyfleet.jobs import server_now_ms
from keyfleet.ledger import model_of
from keyfleet.ledger.queues import queue_names_in
from keyfleet.redis_keys import QueueKeys
from keyfleet.running.fleet_status import WorkerStatus, read_fleet_status
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.holds import Hold, Holds, KeyScopes, KeyState, pool_scope
from keyfleet_workers.key_return import call_back, find_models
from keyfleet_workers.limit_learning import LimitLearner
from keyfleet_workers.limiter import ExactRedisStorage

__all__ = ["FleetView", "KeyView", "LimitView", "StateView", "gravest_state"]

_GRAVEST = (
    *(KeyState.DISABLED, KeyState.REVOKED, KeyState.OUT_OF_CREDIT),
    *(KeyState.UNREACHABLE, KeyState.RESTING, KeyState.COOLING),
)

_STATES = {state.value: state for state in KeyState}


@dataclass(frozen=True, slots=True)
class StateView:
    """Something that keeps a key from being used. `rest_s` None: until it is lifted.

    `host` is the one that it holds for, None for all. `pool` is the quota pool that rests, None for the whole key.
    """

    state: KeyState
    reason: str
    rest_s: float | None
    host: str | None = None
    pool: str | None = None

    @classmethod
    def of(cls, hold: Hold, host: str | None, pool: str | None) -> StateView:
        """A hold as it stands."""
        return cls(hold.state, hold.reason, None if hold.rest_ms is None else hold.rest_ms / 1000, host, pool)

    @classmethod
    def told_by(cls, worker: WorkerStatus) -> StateView | None:
        """What a worker tells of its key; None for one that nothing holds."""
        state = _STATES.get(worker.key.state)
        if state is None or state is KeyState.READY:
            return None
        return cls(state, worker.key.reason, worker.key.rest_s)


def gravest_state(states: Iterable[StateView]) -> StateView | None:
    """What matters most: what holds the whole key before what holds a pool. None for a key that nothing holds."""
    return min(states, key=lambda state: (state.pool is not None, _GRAVEST.index(state.state)), default=None)


@dataclass(frozen=True, slots=True)
class LimitView:
    """One limit of a pool of quota, `used` of `amount` of it in the last `window_s`."""

    pool: str
    models: tuple[str, ...]
    unit: str
    amount: int
    window_s: int
    used: int
    is_configured: bool

    @property
    def left(self) -> int:
        """What may still be used now."""
        return max(0, self.amount - self.used)


@dataclass(frozen=True, slots=True)
class KeyView:
    """One key. `problem` says why this host can't know more of it than workers tell, None where it can.

    `workers` are the hosts of its workers, each as often as it has some.
    """

    config: KeyConfig
    problem: str | None
    states: tuple[StateView, ...]
    limits: tuple[LimitView, ...]
    lost_models: tuple[str, ...]
    workers: tuple[str, ...]
    in_flight: int

    @property
    def gravest(self) -> StateView | None:
        """What matters most of what holds it; None for a key that is ready."""
        return gravest_state(self.states)

    @property
    def state_name(self) -> str:
        """The gravest state's name; `unknown` where neither this host nor a worker can tell."""
        if self.gravest is not None:
            return self.gravest.state.value
        return KeyState.READY.value if self.problem is None or self.workers else "unknown"


@dataclass(slots=True)
class FleetView:
    """Reads how keys stand, of `fleets` on one server. `host` is this host's name. Raises redis.RedisError."""

    client: redis.Redis
    fleets: Sequence[str]
    host: str
    declare_flags: bool = True
    _workers: list[WorkerStatus] = field(default_factory=list)
    _queues: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for fleet in self.fleets:
            self._workers += read_fleet_status(self.client, fleet).workers
            names = cast("set[bytes]", self.client.smembers(redis_keys.queues(fleet)))
            self._queues += [(fleet, name) for name in sorted(queue_names_in(names))]

    def hosts(self) -> set[str]:
        """This host and those of workers."""
        return {self.host, *(worker.host for worker in self._workers)}

    def scopes(self, binding: KeyBinding, host: str | None = None) -> KeyScopes:
        """The scopes of a key's states, as seen from a host, this one by default."""
        return KeyScopes(binding.fingerprint, binding.group, host or self.host)

    def all_scopes(self, binding: KeyBinding) -> list[str]:
        """The scopes of a key's states on all hosts that are known."""
        ways = [self.scopes(binding, host).way for host in sorted(self.hosts())]
        return list(dict.fromkeys([*self.scopes(binding).all(), *ways]))

    def key(self, config: KeyConfig, binding: KeyBinding | str) -> KeyView:
        """How a key stands; in place of its binding, why there is none here."""
        workers = [worker for worker in self._workers if worker.key_name == config.name]
        problem = binding if isinstance(binding, str) else None
        limits = () if isinstance(binding, str) else tuple(self._limits(binding))
        states = _told(workers) if isinstance(binding, str) else self._states(binding)
        return KeyView(
            config=config,
            problem=problem,
            states=tuple(states),
            limits=limits,
            lost_models=tuple(self.lost_models(config)),
            workers=tuple(sorted(worker.host for worker in workers)),
            in_flight=sum(worker.in_flight for worker in workers),
        )

    def lost_models(self, config: KeyConfig) -> list[str]:
        """Models that the key was told it can't use, and doesn't try for now."""
        now_ms = server_now_ms(self.client)
        found = set()
        for fleet, queue in self._queues:
            until_ms = cast("bytes | None", self.client.hget(QueueKeys(fleet, queue).lost, config.name))
            if until_ms is not None and until_ms.isdigit() and int(until_ms) > now_ms:
                found.add(model_of(queue))
        return sorted(found)

    def find_models(self, config: KeyConfig) -> int:
        """Let the key try all models again that it has lost; returns how many queues' there were."""
        return sum(find_models(self.client, fleet, config.name) for fleet in self.fleets)

    def call_back(self, key_names: Sequence[str]) -> None:
        """Have workers that left these keys out try them again at once."""
        for fleet in self.fleets:
            call_back(self.client, fleet, key_names, declare_flags=self.declare_flags)

    def _states(self, binding: KeyBinding) -> list[StateView]:
        hosts = {self.scopes(binding, host).way: host for host in self.hosts()}
        for model in self._models(binding):
            binding.quota(model)
        pools = {pool_scope(pool.name): pool.name for pool in binding.pools()}
        standing = Holds(self.client, declare_flags=self.declare_flags).read([*self.all_scopes(binding), *pools])
        return [StateView.of(hold, hosts.get(hold.scope), pools.get(hold.scope)) for hold in standing]

    def _models(self, binding: KeyBinding) -> list[str]:
        """Models that stand for all pools of a key: a pattern stands for those that match it."""
        asked = [model_of(queue) for _, queue in self._queues]
        served = [model for model in asked if binding.serves(model)]
        group = binding.config.group_settings
        configured = [*binding.config.models, *(group.models if group else ())]
        if binding.config.limits or (group and group.limits):
            configured.append(ANY_MODEL)
        return [model for model in dict.fromkeys([*configured, *served]) if binding.serves(model)]

    def _limits(self, binding: KeyBinding) -> Iterable[LimitView]:
        models = self._models(binding)
        for model in models:
            binding.quota(model)
        LimitLearner(self.client, binding).refresh()
        models_of: dict[str, list[str]] = {}
        for model in models:
            for pool in binding.quota(model).pools:
                models_of.setdefault(pool.name, []).append(model)
        storage = ExactRedisStorage(
            "keyfleet+unix://", connection_pool=self.client.connection_pool, declare_flags=self.declare_flags
        )
        for pool in binding.pools():
            used = storage.inspect(pool.limits, [0] * len(pool.limits)) if pool.limits else []
            for limit, (amount_used, _) in zip(pool.limits, used, strict=True):
                yield LimitView(
                    pool=pool.name,
                    models=tuple(models_of.get(pool.name, ())),
                    unit=limit.unit,
                    amount=limit.amount,
                    window_s=limit.window_ms // 1000,
                    used=amount_used,
                    is_configured=limit.unit in pool.is_configured,
                )


def _told(workers: Sequence[WorkerStatus]) -> list[StateView]:
    """What workers tell of their key, where this host can't look for itself."""
    found = map(StateView.told_by, workers)
    return list(dict.fromkeys(state for state in found if state is not None))
