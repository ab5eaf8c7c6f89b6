"""Passes the pieces of all streamed answers of a worker on to their callers, those of a moment together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import redis

from keyfleet.clock import elapsed_s
from keyfleet.ledger import Transitions
from keyfleet.ledger.pieces import StreamHead
from keyfleet.ledger.transitions import OutgoingPiece
from keyfleet_workers.dispatch.outgoing_stream import OutgoingStream
from keyfleet_workers.provider.ongoing_call import OngoingCall

__all__ = ["PieceSender"]

logger = logging.getLogger(__name__)

GATHER_S = 0.004
"""Least time between the beginnings of two round trips: what comes meanwhile goes together (s)."""

LOOK_S = 0.02
"""Interval of looking at answers that wait for their callers, or whose providers are silent (s)."""

AWAY_S = 0.25
"""Pause where the broker doesn't answer (s)."""


class PieceSender:
    """A thread."""

    def __init__(self, client: redis.Redis, transitions: Transitions, stopping: threading.Event) -> None:
        self._client = client
        self._transitions = transitions
        self._stopping = stopping
        self._lock = threading.Lock()
        self._streams: set[OutgoingStream] = set()
        self._wake = threading.Event()
        self._began_s = float("-inf")

    def start(self) -> None:
        """Begin to send."""
        threading.Thread(target=self._run, name="keyfleet-pieces", daemon=True).start()

    @contextmanager
    def stream(
        self, queue: str, key: str, token: str, head: StreamHead, ongoing: OngoingCall
    ) -> Iterator[OutgoingStream]:
        """An answer to the request `key`, which is passed on as long as this lasts."""
        stream = OutgoingStream(queue, key, token, head, ongoing, self._wake.set)
        with self._lock:
            self._streams.add(stream)
        self._wake.set()
        try:
            yield stream
        finally:
            with self._lock:
                self._streams.discard(stream)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(LOOK_S if self._streams else None)
            self._wake.clear()
            self._gather()
            try:
                self.send()
            except redis.RedisError as error:
                logger.info("pieces of answers can't be passed on now (%s)", type(error).__name__)
                self._stopping.wait(AWAY_S)
                self._wake.set()
            except Exception:
                logger.exception("passing answers on failed; it goes on")
                self._stopping.wait(AWAY_S)

    def _gather(self) -> None:
        wait_s = self._began_s + GATHER_S - elapsed_s()
        if wait_s > 0:
            time.sleep(wait_s)
        self._began_s = elapsed_s()

    def send(self) -> None:
        """Send what is there, in one round trip. Raises redis.RedisError; then the same is sent the next time."""
        now_s = elapsed_s()
        groups: dict[tuple[str, str], list[tuple[OutgoingStream, OutgoingPiece]]] = {}
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            piece = stream.next_piece(now_s)
            if piece is not None:
                groups.setdefault((stream.queue, stream.job_id), []).append((stream, piece))
        if not groups:
            return
        calls = [
            partial(self._transitions.stream, queue, job_id, [piece for _, piece in group])
            for (queue, job_id), group in groups.items()
        ]
        if len(calls) == 1:  # the usual case; a pipeline asks the server first whether it knows the script
            answers = [calls[0]()]
        else:
            pipeline = self._client.pipeline(transaction=False)
            for call in calls:
                call(pipeline)
            answers = pipeline.execute()
        answered_s = elapsed_s()  # a broker that stood still has answered late, and nothing was refused meanwhile
        for group, standings in zip(groups.values(), answers, strict=True):
            for (stream, _), standing in zip(group, standings, strict=True):
                if stream.note(int(standing), answered_s):
                    self._wake.set()
