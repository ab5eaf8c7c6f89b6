"""How each key stands: its state and those of its quotas, its limits, what it does, and who serves it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import redis

from keyfleet.running.fleet_status import FleetStatus, LimitStatus, Probed, WorkerStatus
from keyfleet_workers.holds import Hold, Holds, KeyState
from keyfleet_workers.key_views import StateView, gravest_state
from keyfleet_workers.overview.facts import KeyFacts

__all__ = ["NO_WORKER", "KeyOverview", "QuotaOverview", "read_keys"]

NO_WORKER = "no_worker"
"""State of a key that is configured and that nobody serves."""


@dataclass(frozen=True, slots=True)
class QuotaOverview:
    """Limits that some models draw on together. `state` is what holds all of them, None for nothing."""

    name: str
    label: str
    state: StateView | None
    limits: tuple[LimitStatus, ...]


@dataclass(frozen=True, slots=True)
class KeyOverview:
    """One key. `requests_per_minute` and `tokens_per_minute` are those of the last minute, `errors` counts calls that
    brought nothing to use, by kind, since the workers began. `workers` maps hosts to how many workers serve it there.
    """

    name: str
    provider: str
    group: str | None
    models: tuple[str, ...]
    states: tuple[StateView, ...]
    quotas: tuple[QuotaOverview, ...]
    lost_models: tuple[str, ...]
    requests_per_minute: int
    tokens_per_minute: int
    in_flight: int
    slots: int
    errors: dict[str, int]
    workers: dict[str, int]
    probed: Probed | None

    @property
    def gravest(self) -> StateView | None:
        """What matters most of what holds it; None for a key that nothing holds.

        The way to the provider from one host counts only where every host that serves the key has lost its own.
        """
        cut_off = {state.host for state in self.states if state.host is not None}
        is_cut_off = bool(self.workers) and self.workers.keys() <= cut_off
        return gravest_state(state for state in self.states if state.host is None or is_cut_off)

    @property
    def state(self) -> str:
        """In a word: of its gravest hold, `no_worker`, or `ready`."""
        if self.gravest is not None and self.gravest.pool is None:
            return self.gravest.state.value
        if not self.workers:
            return NO_WORKER
        return self.gravest.state.value if self.gravest is not None else KeyState.READY.value


def read_keys(
    client: redis.Redis, status: FleetStatus, facts: dict[str, KeyFacts], configured: Iterable[str]
) -> list[KeyOverview]:
    """Every key that is configured or has a worker, by name. Raises redis.RedisError."""
    workers: dict[str, list[WorkerStatus]] = {name: [] for name in configured}
    for worker in (*status.workers, *status.left):
        workers.setdefault(worker.key_name, []).append(worker)
    hosts = {worker.host for worker in status.workers}
    scopes = list(
        dict.fromkeys(
            scope
            for name in workers
            if name in facts
            for scope in (*facts[name].key_scopes(hosts), *facts[name].pool_scopes())
        )
    )
    holds = {hold.scope: hold for hold in Holds(client).read(scopes)} if scopes else {}
    return [_key(name, told, facts.get(name), holds, hosts) for name, told in sorted(workers.items())]


def _key(
    name: str, told: Sequence[WorkerStatus], facts: KeyFacts | None, holds: dict[str, Hold], hosts: set[str]
) -> KeyOverview:
    alive = [worker for worker in told if not worker.has_left]
    errors: Counter[str] = Counter()
    for worker in alive:
        errors.update(worker.errors)
    states = _states(told, facts, holds, hosts)
    return KeyOverview(
        name=name,
        provider=facts.provider if facts else "",
        group=facts.group if facts else None,
        models=facts.models if facts else next((worker.models for worker in told), ()),
        states=states,
        quotas=tuple(_quotas(alive, states)),
        lost_models=tuple(sorted({queue for worker in alive for queue in worker.lost_queues})),
        requests_per_minute=sum(worker.sent_last_minute for worker in alive),
        tokens_per_minute=sum(worker.tokens_last_minute for worker in alive),
        in_flight=sum(worker.in_flight for worker in alive),
        slots=sum(worker.slots for worker in alive),
        errors=dict(errors),
        workers=dict(sorted(Counter(worker.host for worker in alive).items())),
        probed=min((one.probed for one in alive if one.probed), key=lambda probed: probed.ago_s, default=None),
    )


def _states(
    told: Sequence[WorkerStatus], facts: KeyFacts | None, holds: dict[str, Hold], hosts: set[str]
) -> tuple[StateView, ...]:
    """From the holds themselves, or where nobody has written down which they are, as workers tell."""
    if facts is None:
        found = [StateView.told_by(worker) for worker in told]
        return tuple(dict.fromkeys(state for state in found if state is not None))
    pools = facts.pool_scopes()
    standing = [holds[scope] for scope in (*facts.key_scopes(hosts), *pools) if scope in holds]
    return tuple(StateView.of(hold, facts.host_of(hold.scope), pools.get(hold.scope)) for hold in standing)


def _quotas(alive: Sequence[WorkerStatus], states: Sequence[StateView]) -> Iterable[QuotaOverview]:
    """Each limit once, though several workers tell of it: with what the last of them has seen used, the most."""
    limits: dict[str, dict[tuple[str, int], LimitStatus]] = {}
    for limit in (limit for worker in alive for limit in worker.limits):
        of_quota = limits.setdefault(limit.quota, {})
        known = of_quota.get((limit.unit, limit.window_s))
        if known is None or known.used < limit.used:
            of_quota[limit.unit, limit.window_s] = limit
    held = {state.pool: state for state in states if state.pool is not None}
    for name in dict.fromkeys([*limits, *held]):
        yield QuotaOverview(name, _label(name), held.get(name), tuple(limits.get(name, {}).values()))


def _label(pool: str) -> str:
    """Which models draw on a pool, and whose it is where it isn't the key's own, e.g. `gpt-4o*` or `group lab: *`."""
    owner, _, scope = pool.rpartition(":")
    kind, _, name = owner.partition(":")
    models = unquote(scope)
    return f"{kind} {unquote(name)}: {models}" if kind in ("group", "project") else models
