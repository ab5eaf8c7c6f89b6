"""Which models a fleet serves: what its keys' configuration names, and what their providers list."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import cast

import redis

from keyfleet import redis_keys
from keyfleet.clock import elapsed_s
from keyfleet.config import KeyConfig, is_pattern
from keyfleet.errors import BrokerUnavailable, MalformedEntry
from keyfleet.listed_models import ListedModel, decode_models, is_model_name
from keyfleet.running.fleet_status import FleetStatus, read_fleet_status

__all__ = ["FleetModels"]

logger = logging.getLogger(__name__)

WANTED_MS = 30_000
"""Workers look after their lists for so long after somebody has asked (ms)."""

ANSWERS_S = 3.0
"""Longest wait for keys of which nothing is known yet (s)."""

LOOK_S = 0.1
"""Interval of looking for their answers (s)."""

FRESH_S = 1.0
"""What was read is told again for so long (s): callers may ask often, and of many keys the lists are long."""

PATIENCE_S = ANSWERS_S + 1.0
"""How long those who have been told models before wait for a new look, which a broker that hangs may hold up (s)."""

CONFIGURED_OWNER = "keyfleet"
"""Owner of a model that only the configuration names."""

Lists = dict[str, tuple[ListedModel, ...]]
"""Name of a key to what its provider lists; keys that have not answered yet are missing."""


class FleetModels:
    """Asks the workers through Redis, and reads what they have told. For any thread.

    Providers are asked by workers, since only they have the keys' secrets, and only while somebody wants to know:
    at once for a key of which nothing is known, else behind what is told, once the list is ten minutes old.
    """

    def __init__(
        self,
        client: redis.Redis,
        fleet: str,
        own_keys: Sequence[KeyConfig] = (),
        *,
        clock: Callable[[], float] = elapsed_s,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        """`own_keys` are those whose workers were started here, and may not have begun yet. `clock` gives seconds that
        only go forward; `pause` waits for some."""
        self._client = client
        self._fleet = fleet
        self._clock = clock
        self._closing = threading.Event()
        self._pause = pause or self._closing.wait
        self._lock = threading.Lock()
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="keyfleet-models")
        self._looking: Future[None] | None = None
        self._own = {key.name: tuple(key.models) for key in own_keys}
        self._in_vain: set[str] = set()
        self._found: tuple[ListedModel, ...] | None = None
        self._looked_s = float("-inf")
        self._trouble = ""

    def close(self) -> None:
        """Wait for nothing more, and close the client."""
        self._closing.set()
        self._client.close()

    def models(self) -> tuple[ListedModel, ...]:
        """The union over all keys, by name. Raises BrokerUnavailable where the broker has not answered yet at all.

        Every model that the configuration of a running worker's key names is there, and what its provider lists and
        its patterns take. That a key is refused, empty or disabled takes nothing away: clients should not have to learn
        anew what there is when it comes back; its models go some minutes after its worker. One look is under way at a
        time, for all who ask, and where models are known nobody waits long for it.
        """
        look = self._look_for_all()
        if look is not None:
            wait((look,), timeout=self._patience_s())
        return self._told(look)

    async def amodels(self) -> tuple[ListedModel, ...]:
        """As `models`, for an event loop; it keeps no thread waiting."""
        look = self._look_for_all()
        if look is not None:
            await _end_of(look, self._patience_s())
        return self._told(look)

    def _look_for_all(self) -> Future[None] | None:
        """The look that is under way, begun where it is time for one; None where what is known is fresh."""
        with self._lock:
            if self._looking is None or self._looking.done():
                if self._clock() - self._looked_s < FRESH_S:
                    return None
                self._looking = self._looker.submit(self._look_anew)
            return self._looking

    def _patience_s(self) -> float | None:
        return None if self._found is None else PATIENCE_S

    def _told(self, look: Future[None] | None) -> tuple[ListedModel, ...]:
        if look is not None and look.done():
            look.result()
        if self._found is None:
            raise BrokerUnavailable(f"the broker doesn't answer ({self._trouble})")
        return self._found

    def _look_anew(self) -> None:
        """What was found before stands where the broker doesn't answer now."""
        try:
            self._found = self._look()
        except redis.RedisError as error:
            self._trouble = type(error).__name__
            logger.info("the models could not be read anew (%s)", self._trouble)
        self._looked_s = self._clock()

    def _look(self) -> tuple[ListedModel, ...]:
        """Raises redis.RedisError."""
        self._ask()
        until_s = self._clock() + ANSWERS_S
        while True:
            status = read_fleet_status(self._client, self._fleet)
            lists = self._lists(status)
            missing = self._awaited(status) - lists.keys()
            self._in_vain &= missing
            if missing <= self._in_vain or self._closing.is_set():
                break
            if self._clock() >= until_s:
                logger.info("no list of models has come of %s", ", ".join(sorted(missing)))
                self._in_vain |= missing
                break
            self._pause(LOOK_S)
        return _union(self._configured(status), lists)

    def _ask(self) -> None:
        """A full server takes no question; what was told before is there all the same."""
        name = redis_keys.models_wanted(self._fleet)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hset(name, "asked", "1")
        pipeline.pexpire(name, WANTED_MS)
        try:
            pipeline.execute()
        except redis.exceptions.OutOfMemoryError as error:
            logger.info("workers could not be asked for models (%s)", type(error).__name__)

    def _awaited(self, status: FleetStatus) -> set[str]:
        """Keys that are to answer: those of workers that are alive, and of those that are still to begin."""
        for worker in (*status.workers, *status.left):
            self._own.pop(worker.key_name, None)
        return {worker.key_name for worker in status.workers} | self._own.keys()

    def _lists(self, status: FleetStatus) -> Lists:
        names = sorted({worker.key_name for worker in (*status.workers, *status.left)})
        if not names:
            return {}
        keys = [redis_keys.model_list(self._fleet, name) for name in names]
        texts = cast("list[bytes | None]", self._client.mget(keys))
        return {name: _decoded(name, text) for name, text in zip(names, texts, strict=True) if text is not None}

    def _configured(self, status: FleetStatus) -> set[str]:
        named = {name for worker in (*status.workers, *status.left) for name in worker.models}
        named.update(name for names in self._own.values() for name in names)
        return {name for name in named if is_model_name(name) and not is_pattern(name)}


async def _end_of(look: Future[None], patience_s: float | None) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: Future[None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
            loop.call_soon_threadsafe(ended.set)

    look.add_done_callback(wake)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(ended.wait(), patience_s)


def _decoded(key_name: str, text: bytes) -> tuple[ListedModel, ...]:
    """What a worker has told; nothing, where that can't be read."""
    try:
        return decode_models(text)
    except MalformedEntry as error:
        logger.info("the list of models of key %s is refused: %s", key_name, error)
        return ()


def _union(configured: Iterable[str], lists: Lists) -> tuple[ListedModel, ...]:
    """Each model once, as the first key by name tells of it."""
    found: dict[str, ListedModel] = {}
    for name in sorted(lists):
        for model in lists[name]:
            found.setdefault(model.id, model)
    for model_id in configured:
        if model_id not in found:
            found[model_id] = ListedModel(model_id, owned_by=CONFIGURED_OWNER)
    return tuple(found[model_id] for model_id in sorted(found))
