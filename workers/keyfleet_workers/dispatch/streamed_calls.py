"""Passing a streamed answer on as it comes, and what is left of it in the end to settle the call by."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from keyfleet.clock import elapsed_s
from keyfleet.config import Provider
from keyfleet.ledger import Taken
from keyfleet.ledger.pieces import StreamHead
from keyfleet.server_sent_events import data_of
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.dispatch.outcomes import REQUEST_ID
from keyfleet_workers.dispatch.outgoing_stream import StreamRefused
from keyfleet_workers.dispatch.piece_sender import PieceSender
from keyfleet_workers.dispatch.stream_notes import StreamNotes
from keyfleet_workers.provider import Answer, CallFailed, ProviderClient
from keyfleet_workers.provider.event_stream import EventStream
from keyfleet_workers.provider.ongoing_call import OngoingCall
from keyfleet_workers.provider.stream_usage import asking_for_usage
from keyfleet_workers.provider.verdict import CallFailure

__all__ = ["StreamedCalls"]

LAST_WORDS_S = 0.2
"""How long the connection's own end may take behind the last event (s): with it, the connection can be used again."""

_SAY_THEIR_END: frozenset[Provider] = frozenset({"openai", "azure"})
"""Whose streams of text end with an event that says so."""


class StreamedCalls:
    """Streamed calls of one key."""

    def __init__(self, binding: KeyBinding, client: ProviderClient, pieces: PieceSender) -> None:
        self._binding = binding
        self._client = client
        self._pieces = pieces

    def call(
        self,
        queue: str,
        taken: Taken,
        read_timeout_s: float,
        ongoing: OngoingCall,
        on_begun: Callable[[Answer], None],
    ) -> Answer:
        """Call, and pass the answer on. What is returned is the whole answer where none has begun; else `ongoing` has,
        and the body is what a document of the answer would tell beside its text, or the error in its midst.

        `on_begun` is given the answer's head, without a body, before the first of it is passed on.
        Raises CallFailed, also where an answer ends before its end.
        """
        asking = asking_for_usage(self._binding.provider, taken.endpoint, taken.body)
        found = self._client.stream(
            taken.endpoint,
            asking or taken.body,
            read_timeout_s=read_timeout_s,
            model=self._binding.alias(taken.model),
            ongoing=ongoing,
        )
        if isinstance(found, Answer):
            return found
        notes = StreamNotes(drops_usage=asking is not None)
        try:
            return self._pass_on(queue, taken, found, notes, ongoing, on_begun)
        finally:
            ongoing.end()
            found.close()

    def _pass_on(
        self,
        queue: str,
        taken: Taken,
        stream: EventStream,
        notes: StreamNotes,
        ongoing: OngoingCall,
        on_begun: Callable[[Answer], None],
    ) -> Answer:
        head = self._head(taken, stream)
        with self._pieces.stream(queue, taken.key, taken.token, head, ongoing) as outgoing, suppress(StreamRefused):
            try:
                for event in stream.events():
                    is_wanted = notes.look(event)
                    if not ongoing.has_begun and not data_of(event):
                        continue  # a comment, which says no more than that the provider lives
                    if notes.error is not None and not ongoing.has_begun:
                        return _answer(stream, notes.error)
                    if is_wanted:
                        if not ongoing.has_begun:
                            ongoing.has_begun = True
                            on_begun(_answer(stream, b""))
                        outgoing.put(self._shown(event, notes))
                    if notes.is_ended:
                        ongoing.has_no_patience(LAST_WORDS_S)
            except CallFailed:
                if not notes.is_ended:
                    raise
            finally:
                ongoing.pieces = outgoing.finish()  # also what came before it broke off
        is_ended = notes.is_ended or notes.error is not None
        if not is_ended and not self._is_whole(taken, stream, ongoing):
            raise CallFailed(CallFailure.CUT_OFF, "the stream ended before its end", stream.written_s)
        return _answer(stream, notes.error or notes.document)

    def _is_whole(self, taken: Taken, stream: EventStream, ongoing: OngoingCall) -> bool:
        """Whether a stream that doesn't say where it ends was read to its end, as far as that can be told."""
        path = taken.endpoint.partition("?")[0].rstrip("/")
        must_say = self._binding.provider in _SAY_THEIR_END and path.endswith(("/completions", "/responses"))
        return ongoing.has_begun and stream.is_delimited and not ongoing.is_stopped and not must_say

    def _head(self, taken: Taken, stream: EventStream) -> StreamHead:
        request_id = stream.headers.get(REQUEST_ID)
        shown = None if request_id is None else self._binding.without_traces(request_id)
        return StreamHead(stream.status, self._binding.name, len(taken.attempts) + 1, shown)

    def _shown(self, event: bytes, notes: StreamNotes) -> bytes:
        """Errors may repeat a part of the key, answers at most all of it."""
        hide = self._binding.without_secrets if notes.error is None else self._binding.error_without_traces
        return hide(event)


def _answer(stream: EventStream, document: bytes) -> Answer:
    return Answer(stream.status, stream.headers, document, stream.written_s, elapsed_s(), stream.begun_s)
