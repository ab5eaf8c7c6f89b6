"""What keeps keys, their accounts and their quotas from being used, shared by all hosts.

A hold is a string in Redis, per scope: one key (by the fingerprint of its secret), its group, its way from one host,
or a quota pool. `take.lua` obeys all holds that concern a key before it takes anything for it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import cast
from urllib.parse import quote

import redis

from keyfleet import redis_keys
from keyfleet.scripts import Script, load_source

__all__ = ["SET_ASIDE", "Hold", "Holds", "KeyScopes", "KeyState", "pool_scope"]

logger = logging.getLogger(__name__)

AT_ONCE = 1000
"""Holds that one command reads."""

RELAPSE_MS = 600_000
"""Who is set aside again within this after a probe has freed it was freed wrongly (ms)."""


class KeyState(Enum):
    """How a key stands. All but READY are states of a hold."""

    READY = "ready"
    COOLING = "cooling"
    """A limit was met, or the provider failed: until then."""
    RESTING = "resting"
    """A limit of a day was met: until then."""
    OUT_OF_CREDIT = "out_of_credit"
    """The account is empty: until a probe finds otherwise."""
    REVOKED = "revoked"
    """The provider refuses the key: until a probe finds otherwise."""
    UNREACHABLE = "unreachable"
    """The provider can't be reached from one host, or through the key's proxy: until then."""
    DISABLED = "disabled"
    """By hand: until it is enabled by hand."""


SET_ASIDE = frozenset({KeyState.OUT_OF_CREDIT, KeyState.REVOKED, KeyState.DISABLED})
"""States without an end of their own, for which a worker that may do so leaves its key."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A standing hold. `rest_ms` is None where it has no end of its own; `since_ms` is the server's time."""

    scope: str
    state: KeyState
    reason: str
    since_ms: int
    rest_ms: int | None

    def describe(self) -> str:
        """The hold in words, e.g. `out of credit: You exceeded your current quota`."""
        return f"{self.state.value.replace('_', ' ')}: {self.reason}"


@dataclass(frozen=True, slots=True)
class KeyScopes:
    """The scopes of one key. `fingerprint` tells it from other keys, `group` is its quota group, if it has one."""

    fingerprint: str
    group: str | None
    host: str

    @property
    def disabled(self) -> str:
        """Taken out of use by hand."""
        return f"key:{self.fingerprint}:disabled"

    @property
    def refused(self) -> str:
        """Refused by the provider."""
        return f"key:{self.fingerprint}:refused"

    @property
    def credit(self) -> str:
        """The account's credit: the whole group's, where the key is in one."""
        return f"group:{quote(self.group, safe='')}:credit" if self.group else self.own_credit

    @property
    def own_credit(self) -> str:
        """What the key's own project may spend, while the group's other keys go on."""
        return f"key:{self.fingerprint}:credit"

    @property
    def way(self) -> str:
        """The way to the provider from this host."""
        return f"{self.ways}{self.host}"

    @property
    def ways(self) -> str:
        """What the ways from all hosts begin with; the host's name follows."""
        return f"key:{self.fingerprint}:from:"

    @property
    def failing(self) -> str:
        """The provider fails whatever it is asked."""
        return f"key:{self.fingerprint}:failing"

    def all(self) -> tuple[str, ...]:
        """Every scope of the key, each once; those of its quota pools come from `pool_scope`."""
        scopes = (self.disabled, self.refused, self.credit, self.own_credit, self.way, self.failing)
        return tuple(dict.fromkeys(scopes))


def pool_scope(pool: str) -> str:
    """The scope of a quota pool, by its name."""
    return f"quota:{pool}"


class Holds:
    """Sets, lifts and reads holds. Of several ends of one scope the latest wins."""

    def __init__(self, client: redis.Redis, *, declare_flags: bool = True) -> None:
        self._client = client
        self._script = Script(client, load_source(("keyfleet_workers", "hold.lua"), declare_flags=declare_flags))

    def set(self, scope: str, state: KeyState, reason: str, rest_ms: int | None) -> bool:
        """Hold `scope` for `rest_ms`, None: until it is lifted. False where one stands that lasts as long.

        One that a probe has just lifted goes on: it stands since it stood before. An unreachable server is logged: the
        provider will say it again.
        """
        try:
            return self._set(scope, state, reason, 0 if rest_ms is None else max(1, rest_ms))
        except redis.RedisError as error:
            logger.warning("the state %s could not be shared (%s)", state.value, type(error).__name__)
            return False

    def disable(self, scope: str, reason: str) -> None:
        """Hold `scope` by hand; a new reason takes the place of an old one. Raises redis.RedisError."""
        self._set(scope, KeyState.DISABLED, reason, 0)

    def _set(self, scope: str, state: KeyState, reason: str, rest_ms: int) -> bool:
        keys = [redis_keys.hold(scope), redis_keys.lifted(scope)]
        return bool(self._script(keys, [state.value, reason, rest_ms]))

    def lift(self, *scopes: str) -> int:
        """End holds for good, by hand; returns how many stood. Raises redis.RedisError."""
        names = [redis_keys.hold(scope) for scope in scopes]
        marks = [name(scope) for scope in scopes for name in (redis_keys.probe_turn, redis_keys.lifted)]
        pipeline = self._client.pipeline(transaction=False)
        pipeline.delete(*names)
        pipeline.delete(*marks)
        lifted, _ = pipeline.execute()
        return int(lifted)

    def lift_after_probe(self, *holds: Hold) -> None:
        """End holds because a probe says so, which may be wrong: then they go on, and so do the turns of probing.

        Raises redis.RedisError.
        """
        pipeline = self._client.pipeline(transaction=False)
        for hold in holds:
            pipeline.set(redis_keys.lifted(hold.scope), hold.since_ms, px=RELAPSE_MS)
            pipeline.delete(redis_keys.hold(hold.scope))
        pipeline.execute()

    def has_relapsed(self, scope: str) -> bool:
        """Whether the hold that stands was lifted by a probe before, wrongly. Raises redis.RedisError."""
        return self._client.get(redis_keys.lifted(scope)) is not None

    def read(self, scopes: Sequence[str]) -> list[Hold]:
        """The holds that stand among `scopes`, in their order. Raises redis.RedisError.

        In as few commands as there are thousands of scopes: an overview asks for every key from every host.
        """
        texts = [text for at in range(0, len(scopes), AT_ONCE) for text in self._texts(scopes[at : at + AT_ONCE])]
        standing = [(scope, text) for scope, text in zip(scopes, texts, strict=True) if text is not None]
        if not standing:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for scope, _ in standing:
            pipeline.pttl(redis_keys.hold(scope))
        found = (
            parse_hold(scope, text, rest_ms)
            for (scope, text), rest_ms in zip(standing, pipeline.execute(), strict=True)
            if rest_ms != -2  # it expired between the two commands
        )
        return [hold for hold in found if hold is not None]

    def _texts(self, scopes: Sequence[str]) -> list[bytes | None]:
        return cast("list[bytes | None]", self._client.mget([redis_keys.hold(scope) for scope in scopes]))

    def claim_probe(self, scope: str, interval_ms: int) -> bool:
        """Whether it is the caller's turn to probe `scope`, once per interval. Raises redis.RedisError."""
        return bool(self._client.set(redis_keys.probe_turn(scope), "1", nx=True, px=max(1, interval_ms)))


def parse_hold(scope: str, text: bytes, rest_ms: int) -> Hold | None:
    """A hold as `hold.lua` writes it; None for what another version wrote."""
    state, _, rest = text.decode(errors="replace").partition(" ")
    since_ms, _, reason = rest.partition(" ")
    try:
        return Hold(scope, KeyState(state), reason, int(since_ms), None if rest_ms < 0 else rest_ms)
    except ValueError:
        return None
