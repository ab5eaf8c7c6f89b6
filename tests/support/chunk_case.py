"""A chunk runner with everything around it made up: taker, calls, delivery and queue control."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from keyfleet.config import Environment, KeyConfig, ModelLimits, ModelSettings, SecretReference, parse_limits
from keyfleet.ledger import Finish, JobOptions, Taken
from keyfleet.ticket_message import REQUESTS_PER_TICKET
from keyfleet_workers.binding import KeyBinding, Quota
from keyfleet_workers.dispatch.calls import CallRunner
from keyfleet_workers.dispatch.chunk import ChunkRunner
from keyfleet_workers.dispatch.chunk_counts import ChunkCounts
from keyfleet_workers.dispatch.delivery import Delivery, Settle
from keyfleet_workers.dispatch.held import HeldRequests
from keyfleet_workers.dispatch.key_health import KeyHealth
from keyfleet_workers.dispatch.packs import Pack
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.standing import Standing
from keyfleet_workers.dispatch.taker import Grant, Taker, TakeResult
from keyfleet_workers.dispatch.taking import ChunkParts
from keyfleet_workers.dispatch.waits import Waits
from keyfleet_workers.holds import Hold
from keyfleet_workers.limiter import QuotaLimit

__all__ = ["LIMIT", "QUEUE", "ChunkCase", "take_result"]

QUEUE = "m"
LIMIT = QuotaLimit("r", "requests", 60, 60_000, 100)


class RecordedStanding(Standing):
    """Takes note of waits instead of sitting them out, as long as it is told so."""

    def __init__(self, stopping: threading.Event) -> None:
        super().__init__(stopping)
        self.waits_s: list[float] = []
        self.is_patient = False

    def wait(self, queue: str, wait_s: float) -> bool:
        self.waits_s.append(wait_s)
        return super().wait(queue, wait_s if self.is_patient else 0.0)


class ChunkCase:
    """A chunk runner whose takes bring what a test says: lists of request numbers, results, or errors."""

    def __init__(self, slots: int = 8) -> None:
        self.takes: list[Any] = []
        self.asked: list[int] = []
        self.asked_inputs: list[int] = []
        self.slots = CallSlots(slots, slots, pause=lambda _: None)
        self.held = HeldRequests(30.0)
        self.waits = Waits()
        self.stopping = threading.Event()
        self.standing = RecordedStanding(self.stopping)
        self.put_back: list[int] = []
        self.pauses_s: list[float] = []
        self.resumed = 0
        self.prefetched = 0
        self.told: list[str] = []
        self.generations: list[int] = []
        self.called: list[str] = []
        self.given_back: list[str] = []
        self.counted: list[str] = []
        self.finished: list[Finish] = []
        self.noted: list[Settle] = []
        self.may_take = True
        self.can_share = True
        self.cautious: list[bool] = []
        self.is_first = True
        self.not_first = 0
        self.hold_calls = threading.Event()
        self.hold_calls.set()
        self.streams = False
        """Whether answers begin at once, and last as long as calls are held."""
        self.on_take: Callable[[], None] = lambda: None
        self.executor = ThreadPoolExecutor(slots)
        models = {QUEUE: ModelSettings(ModelLimits(parse_limits(["9/minute"])))}
        key = KeyConfig("one", SecretReference("sk-literal-key"), models=models)
        parts = ChunkParts(
            binding=KeyBinding(key, Environment({})),
            taker=cast(Taker, self),
            calls=cast(CallRunner, self),
            slots=self.slots,
            held=self.held,
            delivery=cast(Delivery, self),
            control=self,
            waits=self.waits,
            standing=self.standing,
            executor=self.executor,
            put_back=lambda queue, count: self.put_back.append(count),
            may_take=lambda: self.may_take,
            job_name=lambda job_id: f"{job_id}.jsonl",
        )
        self.runner = ChunkRunner(parts)

    # As a taker.
    def take(self, queue: str, quota: Quota, most: int, *, most_inputs: int) -> TakeResult:
        self.asked.append(most)
        self.asked_inputs.append(most_inputs)
        self.on_take()
        found = self.takes.pop(0) if self.takes else []
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, TakeResult) else take_result(found)

    # As a runner of calls.
    @property
    def health(self) -> KeyHealth:
        return cast(KeyHealth, self)

    def shares(self, queue: str) -> bool:
        return self.can_share

    def is_cautious(self, quota: Quota) -> bool:
        return self.cautious.pop(0) if self.cautious else False

    def is_not_first(self, quota: Quota) -> None:
        self.not_first += 1

    def may_be_first(self, quota: Quota) -> bool:
        return self.is_first

    def run(self, queue: str, pack: Pack, grant: Grant, counts: ChunkCounts) -> None:
        if self.streams:
            counts.note_beginning(pack.first.key)
        self.hold_calls.wait(30.0)
        self.called += [taken.key for taken in pack.members]
        self._end(pack, counts, "succeeded")

    def give_back(self, queue: str, pack: Pack, grant: Grant, counts: ChunkCounts) -> None:
        self.given_back += [taken.key for taken in pack.members]
        self._end(pack, counts, "handed_back")

    def _end(self, pack: Pack, counts: ChunkCounts, how: str) -> None:
        for taken in pack.members:
            self.held.drop(QUEUE, taken.key, taken.token)
        self.slots.release()
        counts.end(how, len(pack.members), pack.first.key)

    def count(self, how: str) -> None:
        self.counted.append(how)

    # As a delivery.
    def put(self, queue: str, finish: Finish, record: bytes = b"") -> None:
        self.finished.append(finish)

    def note_grant(self, grant: Settle) -> None:
        self.noted.append(grant)

    # As a queue control.
    def pause(self, queue: str, wait_s: float) -> None:
        self.pauses_s.append(wait_s)

    def resume(self, queue: str) -> None:
        self.resumed += 1

    def chunk_began(self) -> int:
        self.prefetched += 1
        self.generations.append(len(self.generations))
        return self.generations[-1]

    def chunk_ended(self, generation: int) -> None:
        assert generation in self.generations
        self.prefetched -= 1

    def serve(self, count: int = REQUESTS_PER_TICKET) -> str:
        """Serve one ticket, and check that nothing is left behind."""
        said = self.runner.run(QUEUE, count, lambda what: self.told.append(str(what)))
        self.check_nothing_left()
        return str(said)

    def check_nothing_left(self) -> None:
        assert self.slots.used == 0
        assert len(self.held) == 0
        assert self.prefetched == 0
        free = self.runner._roles.get(QUEUE)
        assert free is None or not free.locked()


def taken(name: object) -> Taken:
    return Taken(f"job:{name}", f"token{name}", 7, b"h\nb", "/v1/completions", QUEUE, b"b", {}, JobOptions(), ())


def take_result(
    names: Any,
    *,
    left: int = 0,
    wait_ms: int = 0,
    limit: QuotaLimit | None = None,
    hold: Hold | None = None,
    impossible: Any = (),
    expired: Any = (),
    dropped: Any = (),
) -> TakeResult:
    """What a take of `names` brings: each a call, a tuple of them a call that they share."""
    grant = Grant(Quota("quota", (LIMIT,)), 5000, 1e9)
    packs = tuple(Pack(tuple(map(taken, name if isinstance(name, tuple) else (name,)))) for name in names)
    hopeless, late, unwanted = (tuple(map(taken, some)) for some in (impossible, expired, dropped))
    return TakeResult(grant, packs, hopeless, left, wait_ms, limit, hold, expired=late, dropped=unwanted)
