"""The producer's side of the ledger: accept requests, collect outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import redis

from keyfleet import redis_keys
from keyfleet.contract import Outcome, Request
from keyfleet.ledger.codec import JobOptions, decode_outcome, encode_record, request_key, split_request_key
from keyfleet.ledger.queues import LUA_PACKAGE, QUEUE_LUA, queue_key_list
from keyfleet.redis_keys import QueueKeys
from keyfleet.scripts import Script, load_source
from keyfleet.tickets import PRIORITIES, REQUESTS_PER_TICKET

__all__ = ["JobLedger"]

SCAN_COUNT = 1000
"""How many hash fields one step of a scan looks at."""


class JobLedger:
    """One job's requests and outcomes in the ledger of `fleet`."""

    def __init__(
        self, client: redis.Redis, fleet: str, job_id: str, options: JobOptions, *, declare_flags: bool = True
    ) -> None:
        self._client = client
        self._fleet = fleet
        self._options = options
        self.job_id = job_id
        self._accept = self._script(client, "accept.lua", declare_flags)
        self._withdraw = self._script(client, "withdraw.lua", declare_flags)

    @staticmethod
    def _script(client: redis.Redis, name: str, declare_flags: bool) -> Script:
        return Script(client, load_source(QUEUE_LUA, (LUA_PACKAGE, name), declare_flags=declare_flags))

    @property
    def _job_key(self) -> str:
        return redis_keys.job(self._fleet, self.job_id)

    @property
    def _stream_key(self) -> str:
        return redis_keys.job_outcomes(self._fleet, self.job_id)

    def open(self) -> None:
        """Make the job known. Does no harm to a job that is known already."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.sadd(redis_keys.jobs(self._fleet), self.job_id)
        pipeline.hset(self._job_key, mapping={"echo": int(self._options.echo)})
        pipeline.execute()

    def is_known(self) -> bool:
        """Whether the server knows the job; if not although it was opened, the server was wiped."""
        return bool(self._client.hexists(self._job_key, "echo"))

    def close(self) -> None:
        """Remove what is left of a job whose outcomes are all collected."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.delete(self._job_key, self._stream_key)
        pipeline.srem(redis_keys.jobs(self._fleet), self.job_id)
        pipeline.execute()

    def accept(self, queue: str, requests: Sequence[Request], *, batch: str = "") -> list[bool]:
        """Write `requests` into `queue`; False stands for each that the ledger has already.

        `batch` names this very call. With the same name it may be made again when its answer was lost on the way: a
        request that was accepted then, and has its outcome by now, is not accepted a second time. A job remembers its
        last batch only, so this holds for one thread that accepts at a time.

        Raises redis.exceptions.OutOfMemoryError, having written nothing, when the server is full.
        """
        keys = [*queue_key_list(self._fleet, queue), QueueKeys(self._fleet, queue).sequence]
        keys += [redis_keys.queues(self._fleet), self._job_key]
        arguments: list[Any] = [queue, batch]
        for request in requests:
            arguments += [
                request_key(self.job_id, request.id),
                int(request.urgent),
                request.cost_tokens,
                encode_record(request, self._options),
            ]
        return [bool(flag) for flag in self._accept(keys, arguments)]

    def withdraw(self, queue: str, request_ids: Sequence[str]) -> list[bool]:
        """Take requests out of `queue` that no worker holds; False stands for each that is running or gone."""
        ids = [request_key(self.job_id, request_id) for request_id in request_ids]
        return [bool(flag) for flag in self._withdraw(queue_key_list(self._fleet, queue), ids)]

    def queue_names(self) -> list[str]:
        """All queues of the fleet, in no order."""
        return [name.decode() for name in cast("set[bytes]", self._client.smembers(redis_keys.queues(self._fleet)))]

    def open_ids(self, queue: str) -> Iterator[str]:
        """Ids of this job's requests that `queue` holds."""
        keys = QueueKeys(self._fleet, queue)
        for key, _ in self._client.hscan_iter(keys.places, match=f"{self.job_id}:*", count=SCAN_COUNT):
            yield split_request_key(key.decode())[1]

    def outcomes(self, after: str, *, count: int, block_ms: int | None = None) -> list[tuple[str, Outcome]]:
        """Up to `count` outcomes behind the stream's entry `after` ("0" for all), each with its entry's id."""
        answer = cast(
            "list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]] | None",
            self._client.xread({self._stream_key: after}, count=count, block=block_ms),
        )
        entries = answer[0][1] if answer else []
        return [(entry_id.decode(), decode_outcome(fields)) for entry_id, fields in entries]

    def trim(self, through: str) -> None:
        """Drop the outcomes up to and with the entry `through`: they are safe elsewhere now."""
        milliseconds, _, number = through.partition("-")
        self._client.xtrim(self._stream_key, minid=f"{milliseconds}-{int(number) + 1}", approximate=False)

    def lacking_tickets(self, queue: str) -> int:
        """Tickets that `queue` needs for what is ready beside those that stand there; below 0 where they are too many.

        Tickets that a worker holds just now are not seen.
        """
        keys = QueueKeys(self._fleet, queue)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.zcard(keys.ready_urgent)
        pipeline.zcard(keys.ready_bulk)
        for priority in PRIORITIES:
            pipeline.llen(redis_keys.tickets(self._fleet, queue, priority))
        urgent, bulk, *standing = cast("list[int]", pipeline.execute())
        return -(-(urgent + bulk) // REQUESTS_PER_TICKET) - sum(standing)

    def depths(self, queue: str) -> dict[str, int]:
        """How many requests of all jobs `queue` has ready, running and delayed."""
        keys = QueueKeys(self._fleet, queue)
        pipeline = self._client.pipeline(transaction=False)
        for key in (keys.ready_urgent, keys.ready_bulk, keys.running, keys.delayed):
            pipeline.zcard(key)
        urgent, bulk, running, delayed = pipeline.execute()
        return {"ready": urgent + bulk, "running": running, "delayed": delayed}
