"""The producer's side of the ledger: accept requests, collect outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import redis

from keyfleet import redis_keys
from keyfleet.contract import Outcome, Request
from keyfleet.errors import JobCancelled, MalformedEntry
from keyfleet.ledger.codec import (
    JobOptions,
    decode_outcome,
    encode_record,
    request_key,
    split_request_key,
    unreadable_outcome,
)
from keyfleet.ledger.job_failures import FAILURES_LUA
from keyfleet.ledger.job_record import KEEP_JOBS_MS, Closing, JobFacts, ProducerWord, Withdrawal, Withdrawn
from keyfleet.ledger.pieces import Piece, decode_piece, is_piece
from keyfleet.ledger.queues import LUA_PACKAGE, QUEUE_LUA, queue_key_list, queue_names_in
from keyfleet.redis_keys import QueueKeys
from keyfleet.scripts import Script, load_source
from keyfleet.ticket_message import NO_TICKETS, PRIORITIES, REQUESTS_PER_TICKET, Tickets

__all__ = ["JobLedger"]

SCAN_COUNT = 1000
"""How many hash fields one step of a scan looks at."""

READ_KEEP_MS = 86_400_000
"""How long it stays known what was read of answers that come in pieces (ms): longer than any lasts."""


class JobLedger:
    """One job's requests and outcomes in the ledger of `fleet`."""

    def __init__(
        self,
        client: redis.Redis,
        fleet: str,
        job_id: str,
        options: JobOptions,
        *,
        facts: JobFacts | None = None,
        keep_ms: int = KEEP_JOBS_MS,
        is_caller: bool = False,
        declare_flags: bool = True,
    ) -> None:
        """`facts` say what the job is, for those who list jobs; its record stays for `keep_ms` when it is done.
        `is_caller`: somebody waits for its outcomes right now, so nothing of it is started once its producer is gone.
        """
        self._client = client
        self._fleet = fleet
        self._options = options
        self._facts = facts or JobFacts()
        self._keep_ms = keep_ms
        self._is_caller = is_caller
        self.job_id = job_id

        def script(name: str, *before: tuple[str, str]) -> Script:
            return Script(client, load_source(*before, (LUA_PACKAGE, name), declare_flags=declare_flags))

        self._accept = script("accept.lua", QUEUE_LUA)
        self._withdraw = script("withdraw.lua", QUEUE_LUA)
        self._open = script("open.lua")
        self._seen = script("seen.lua")
        self._note_failures = script("note_failures.lua", FAILURES_LUA)
        self._close = script("close.lua")

    @property
    def _job_key(self) -> str:
        return redis_keys.job(self._fleet, self.job_id)

    @property
    def _stream_key(self) -> str:
        return redis_keys.job_outcomes(self._fleet, self.job_id)

    def open(self, *, begins: bool = False, succeeded: int = 0, failed: int = 0) -> None:
        """Make the job known. Does no harm to a job that is known already.

        `begins`: a producer begins to run it, so it isn't cancelled any more. `succeeded` and `failed` are the
        outcomes that it has written.
        """
        arguments: list[Any] = [self.job_id, int(begins), int(self._options.echo), succeeded, failed]
        for pair in self._facts.fields().items():
            arguments += pair
        self._open(_record_keys(self._fleet, self.job_id), arguments)

    def say_alive(self, *, leaves: bool = False, total: int | None = None) -> ProducerWord:
        """Say that the producer runs the job, or that it leaves it undone; hear whether it was cancelled or paused.

        `total` is how many requests it has, where that is known.
        """
        keys = [self._job_key, redis_keys.paused(self._fleet)]
        keys += [redis_keys.callers(self._fleet)] if self._is_caller else []
        return ProducerWord(self._seen(keys, [int(leaves), self.job_id, "" if total is None else total]).decode())

    def is_known(self) -> bool:
        """Whether the server knows the job; if not although it was opened, the server was wiped."""
        return bool(self._client.hexists(self._job_key, "echo"))

    def close(self, closing: Closing | None = None) -> None:
        """End a job whose outcomes are all collected; what it was and how it ended stays for a while."""
        closing = closing or Closing()
        own = _record_keys(self._fleet, self.job_id)
        if closing.into is None:
            keys, ids = own, [self.job_id, ""]
        else:
            keys, ids = [*_record_keys(*closing.into), *own], [closing.into[1], self.job_id]
        self._close(keys, [*ids, self._keep_ms, *closing.arguments(self._facts)])
        self._client.srem(redis_keys.paused(self._fleet), self.job_id)
        if self._is_caller:
            self._client.zrem(redis_keys.callers(self._fleet), self.job_id)
            self._client.unlink(redis_keys.job_read(self._fleet, self.job_id))

    def note_failures(self, groups: Sequence[tuple[str, int, str]]) -> None:
        """Count requests that failed without ever being accepted: (reason, count, example) of each reason."""
        keys = _record_keys(self._fleet, self.job_id)[1:4]
        self._note_failures(keys, [part for group in groups for part in group])

    def accept(
        self,
        queue: str,
        requests: Sequence[Request],
        *,
        batch: str = "",
        options: Mapping[str, JobOptions] | None = None,
        tickets: Tickets = NO_TICKETS,
    ) -> list[bool]:
        """Write `requests` into `queue`; False stands for each that the ledger has already.

        Of `tickets` those are issued that the queue lacks beside what stands there, no more than the new requests need.
        Workers also take without a ticket while they wait for quota, so a ticket for each batch would pile up as a job
        goes on. Tickets that a worker holds just now are not seen.

        `options` are those of requests, by id, that have others than the job.

        `batch` names this very call. With the same name it may be made again when its answer was lost on the way: a
        request that was accepted then, and has its outcome by now, is not accepted a second time. A job remembers its
        last batch only, so this holds for one thread that accepts at a time.

        Raises redis.exceptions.OutOfMemoryError, having written nothing, when the server is full, and JobCancelled.
        """
        keys = [*queue_key_list(self._fleet, queue), QueueKeys(self._fleet, queue).sequence]
        keys += [redis_keys.queues(self._fleet), self._job_key]
        keys += (redis_keys.tickets(self._fleet, queue, priority) for priority in PRIORITIES)
        arguments: list[Any] = [queue, batch, int(tickets.overtake), REQUESTS_PER_TICKET, len(tickets.messages)]
        arguments += tickets.messages
        own = options or {}
        for request in requests:
            arguments += [
                request_key(self.job_id, request.id),
                int(request.urgent),
                request.cost_tokens,
                encode_record(request, own.get(request.id, self._options)),
                request.start_within_ms,
                request.pack or "-",
                request.cost_images,
            ]
        accepted = self._accept(keys, arguments)
        if accepted == b"cancelled":
            raise JobCancelled("the job was cancelled")
        return [bool(flag) for flag in accepted]

    def withdraw(
        self, queue: str, request_ids: Sequence[str], which: Withdrawal = Withdrawal.WAITING
    ) -> list[Withdrawn]:
        """Take requests out of `queue` that no worker holds."""
        keys = [*queue_key_list(self._fleet, queue), self._job_key, QueueKeys(self._fleet, queue).unwanted]
        ids = [request_key(self.job_id, request_id) for request_id in request_ids]
        return [Withdrawn(found) for found in self._withdraw(keys, [int(which), *ids])]

    def queue_names(self) -> list[str]:
        """All queues of the fleet, in no order."""
        return queue_names_in(cast("set[bytes]", self._client.smembers(redis_keys.queues(self._fleet))))

    def open_ids(self, queue: str) -> Iterator[str]:
        """Ids of this job's requests that `queue` holds."""
        keys = QueueKeys(self._fleet, queue)
        for key, _ in self._client.hscan_iter(keys.places, match=f"{self.job_id}:*", count=SCAN_COUNT):
            yield split_request_key(key.decode(errors="replace"))[1]

    def holds(self, request_id: str) -> bool:
        """Whether any queue holds this job's request."""
        pipeline = self._client.pipeline(transaction=False)
        for queue in self.queue_names():
            pipeline.hexists(QueueKeys(self._fleet, queue).requests, request_key(self.job_id, request_id))
        return any(pipeline.execute())

    def outcomes(
        self, after: str, *, count: int, block_ms: int | None = None, takes_later: bool = False
    ) -> list[tuple[str, Outcome]]:
        """Up to `count` outcomes behind the stream's entry `after` ("0" for all), each with its entry's id.

        In place of one that can't be read stands a failed one (`unreadable_outcome`). Raises MalformedEntry for one
        of a later version of the contract, which must stay where it is for a later Keyfleet; `takes_later`: nobody else
        will read it, so a failed one stands in its place too.
        """
        return [(entry_id, _outcome(fields, takes_later)) for entry_id, fields in self._entries(after, count, block_ms)]

    def _entries(self, after: str, count: int, block_ms: int | None) -> list[tuple[str, dict[bytes, bytes]]]:
        answer = cast(
            "list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]] | None",
            self._client.xread({self._stream_key: after}, count=count, block=block_ms),
        )
        entries = answer[0][1] if answer else []
        return [(entry_id.decode(), fields) for entry_id, fields in entries]

    def replies(
        self, after: str, *, count: int, block_ms: int | None = None
    ) -> list[tuple[str, Outcome | Piece | None]]:
        """As `outcomes` with `takes_later`, for the calls of a process: pieces of answers stand between the outcomes,
        and None for one that can't be read."""
        return [(entry_id, _reply(fields)) for entry_id, fields in self._entries(after, count, block_ms)]

    def note_read(self, read_bytes: Mapping[str, int | None]) -> None:
        """Say of each request how many bytes of its answer's pieces have been read; None: it is over, and nobody will
        ask. Raises redis.RedisError."""
        key = redis_keys.job_read(self._fleet, self.job_id)
        pipeline = self._client.pipeline(transaction=False)
        for request_id, count in read_bytes.items():
            if count is None:
                pipeline.hdel(key, request_key(self.job_id, request_id))
            else:
                pipeline.hset(key, request_key(self.job_id, request_id), str(count))
        pipeline.pexpire(key, READ_KEEP_MS)
        pipeline.execute()

    def has_outcomes(self) -> bool:
        """Whether outcomes wait to be collected."""
        return bool(self._client.xlen(self._stream_key))

    def trim(self, through: str) -> None:
        """Drop the outcomes up to and with the entry `through`: they are safe elsewhere now."""
        milliseconds, _, number = through.partition("-")
        self._client.xtrim(self._stream_key, minid=f"{milliseconds}-{int(number) + 1}", approximate=False)

    def depths(self, queue: str) -> dict[str, int]:
        """How many requests of all jobs `queue` has ready, running and delayed."""
        keys = QueueKeys(self._fleet, queue)
        pipeline = self._client.pipeline(transaction=False)
        for key in (keys.ready_urgent, keys.ready_bulk, keys.running, keys.delayed):
            pipeline.zcard(key)
        urgent, bulk, running, delayed = pipeline.execute()
        return {"ready": urgent + bulk, "running": running, "delayed": delayed}


def _reply(entry: dict[bytes, bytes]) -> Outcome | Piece | None:
    if not is_piece(entry):
        return _outcome(entry, takes_later=True)
    try:
        return decode_piece(entry)
    except MalformedEntry:
        return None


def _record_keys(fleet: str, job_id: str) -> list[str]:
    """The first keys of `open.lua` and `close.lua`."""
    return [
        redis_keys.jobs(fleet),
        redis_keys.job(fleet, job_id),
        redis_keys.job_failures(fleet, job_id),
        redis_keys.job_failure_examples(fleet, job_id),
        redis_keys.job_outcomes(fleet, job_id),
    ]


def _outcome(entry: dict[bytes, bytes], takes_later: bool) -> Outcome:
    try:
        return decode_outcome(entry)
    except MalformedEntry as error:
        if error.is_later and not takes_later:
            raise
        return unreadable_outcome(entry, error)
