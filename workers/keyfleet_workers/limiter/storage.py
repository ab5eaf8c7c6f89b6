"""The Redis storage of `limits`, with the scripts of exact windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from limits.storage import RedisStorage

from keyfleet.scripts import Script, load_source
from keyfleet_workers.limiter.quota import QuotaLimit, as_arguments

__all__ = ["Correction", "ExactRedisStorage", "Reservation", "Settlement"]

LUA_PACKAGE = "keyfleet_workers.limiter.lua"
WINDOW_LUA = (LUA_PACKAGE, "window.lua")


@dataclass(frozen=True, slots=True)
class Reservation:
    """What `reserve` answers.

    `granted` entries of the list may start. `wait_ms` is the time until the next entry fits: 0 when all were granted,
    None when it never fits; `blocked_by` is the limit that holds it. `now_ms` is the server's time of the grants.
    """

    granted: int
    wait_ms: int | None
    blocked_by: QuotaLimit | None
    now_ms: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """A correction of one grant: what each limit had reserved, and how much more (or less) was really used.

    `granted_ms` is None where nothing was granted, as of limits that were learned later: the deltas are charged now.
    """

    granted_ms: int | None
    used_ms: int
    reserved: tuple[int, ...]
    deltas: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Correction:
    """What an answer says is left of a limit at its provider, beside what was left here after the call's grant.

    `remaining` and `reset_ms` are None where the answer doesn't say.
    """

    granted_ms: int
    left: int
    remaining: int | None
    reset_ms: int | None


class ExactRedisStorage(RedisStorage):
    """`limits`' Redis storage that can also keep exact weighted windows.

    The URI is that of `RedisStorage` with `keyfleet+` in front, e.g. `keyfleet+redis://localhost:6379`.
    """

    STORAGE_SCHEME = ["keyfleet+redis", "keyfleet+rediss", "keyfleet+unix"]  # noqa: RUF012 - the base declares a list

    def __init__(
        self,
        uri: str,
        connection_pool: redis.ConnectionPool | None = None,
        *,
        declare_flags: bool = True,
        wrap_exceptions: bool = False,
        **options: Any,
    ) -> None:
        """`declare_flags=False` suits servers before Redis 7; all else is `RedisStorage`'s."""
        self._declare_flags = declare_flags
        super().__init__(
            uri.removeprefix("keyfleet+"), connection_pool=connection_pool, wrap_exceptions=wrap_exceptions, **options
        )

    def initialize_storage(self, _uri: str) -> None:
        super().initialize_storage(_uri)
        self._reserve = self._register("reserve.lua")
        self._inspect = self._register("inspect.lua")
        self._settle = self._register("settle.lua")
        self._correct = self._register("correct.lua")

    def _register(self, name: str) -> Script:
        source = load_source(WINDOW_LUA, (LUA_PACKAGE, name), declare_flags=self._declare_flags)
        return Script(self.storage, source)

    def reserve(
        self, limits: Sequence[QuotaLimit], costs: Sequence[Sequence[int]], known_ms: Sequence[int] | None = None
    ) -> Reservation:
        """Grant the longest prefix of `costs` (one row per request, one column per limit) that fits all limits now.

        `known_ms[i]` is the server's time at which the caller was last granted something on limit i, 0 when that was
        before its last window: if the server has lost the window since, it counts as full for one window.
        """
        arguments = [len(limits), *as_arguments(limits, known_ms), *(cost for row in costs for cost in row)]
        granted, wait_ms, blocked, now_ms = self._reserve([limit.key for limit in limits], arguments)
        return Reservation(
            granted, None if wait_ms < 0 else wait_ms, limits[blocked - 1] if blocked else None, int(now_ms)
        )

    def inspect(self, limits: Sequence[QuotaLimit], costs: Sequence[int]) -> list[tuple[int, int | None]]:
        """Per limit what is used now, and the wait in ms until its cost fits (None: never)."""
        arguments = [len(limits), *as_arguments(limits), *costs]
        found = self._inspect([limit.key for limit in limits], arguments)
        return [(int(used), None if wait_ms < 0 else int(wait_ms)) for used, wait_ms in found]

    def settle(self, limits: Sequence[QuotaLimit], settlements: Sequence[Settlement], pipeline: Any = None) -> None:
        """Correct earlier grants on `limits`; with a pipeline, only queue the call there."""
        arguments: list[int] = [len(limits), *as_arguments(limits)]
        for settlement in settlements:
            granted_ms = -1 if settlement.granted_ms is None else settlement.granted_ms
            arguments += [granted_ms, settlement.used_ms]
            for reserved, delta in zip(settlement.reserved, settlement.deltas, strict=True):
                arguments += [reserved, delta]
        self._settle([limit.key for limit in limits], arguments, pipeline)

    def correct(self, limits: Sequence[QuotaLimit], corrections: Sequence[Correction], pipeline: Any = None) -> None:
        """Take over, per limit, what is left at the provider where that is less than what is left here.

        With a pipeline, only queue the call there.
        """
        arguments: list[int] = [len(limits), *as_arguments(limits)]
        for one in corrections:
            remaining = -1 if one.remaining is None else one.remaining
            arguments += [one.granted_ms, one.left, remaining, -1 if one.reset_ms is None else one.reset_ms]
        self._correct([limit.key for limit in limits], arguments, pipeline)
