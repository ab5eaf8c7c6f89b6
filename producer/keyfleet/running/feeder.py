"""Reads the input and keeps the window of accepted requests full."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from keyfleet.batch.aside import AsideQueue
from keyfleet.batch.formats import Row, blank_row
from keyfleet.batch.json_text import likely_model
from keyfleet.batch.lines import InputLine, InputLines
from keyfleet.batch.parse import LineParser, ParsedLine
from keyfleet.contract import Request
from keyfleet.errors import InvalidRequest
from keyfleet.ledger import queue_of
from keyfleet.running.accepting import Acceptor
from keyfleet.running.window import OpenRequest, Window

__all__ = ["ASIDE_BYTES", "Admits", "Feeder"]

ACCEPT_AT_ONCE = 128
"""Requests that one round trip writes."""

ACCEPT_BYTES = 512 * 1024
"""About how many bytes of bodies one round trip writes: a server with little room left takes no more at once."""

READ_AT_ONCE = 256
"""Lines read between two looks at what else there is to do."""

WAIT_S = 0.05
"""Longest wait for room in the window before looking again (s)."""

ASIDE_BYTES = 256 * 1024 * 1024
"""Most bytes set aside of an input that can't be read again at a place: its lines themselves lie on disk then."""

PROMPT_S = 0.05
"""How long lines of a stream may wait for more of them before they are accepted (s)."""


class Admits(Protocol):
    """Makes requests of lines."""

    def request(self, parsed: ParsedLine) -> Request:
        """The request of a line. Raises InvalidRequest."""
        ...


class WantedLines(Protocol):
    """Which lines still need an outcome."""

    def wants(self, line_number: int) -> bool: ...


class Feeder:
    """A thread that accepts lines as fast as the window allows.

    Lines of a model whose window is full are set aside on disk, so that other models' lines pass. Whoever feeds
    again after a loss uses `feed_again`.
    """

    def __init__(
        self,
        lines: InputLines,
        parser: LineParser,
        admission: Admits,
        acceptor: Acceptor,
        window: Window,
        wanted: WantedLines,
        *,
        on_invalid: Callable[[InputLine, InvalidRequest], None],
        on_row: Callable[[Row], None],
        lookahead_end: Callable[[], int | None],
        limit_lines: int | None,
        stopping: threading.Event,
        aside_bytes: int = ASIDE_BYTES,
        before_accept: Callable[[], None] = lambda: None,
    ) -> None:
        """`aside_bytes` is the most that is set aside; `before_accept` is called before lines are accepted."""
        self._aside_bytes = aside_bytes
        self._before_accept = before_accept
        self._lines = lines
        self._parser = parser
        self._admission = admission
        self._acceptor = acceptor
        self._window = window
        self._wanted = wanted
        self._on_invalid = on_invalid
        self._on_row = on_row
        self._lookahead_end = lookahead_end
        self._limit_lines = limit_lines
        self._stopping = stopping
        self._aside: dict[str, AsideQueue] = {}
        self._again: list[tuple[str, InputLine]] = []
        self._again_lock = threading.Lock()
        self._pending: dict[str, list[Request]] = {}
        self._pending_bytes: dict[str, int] = {}
        self._held_line: InputLine | None = None
        self._at_end = False
        self._flushed_s = 0.0
        self.fed = lines.fingerprint_at()
        self.failure: BaseException | None = None
        self._idle = False
        self._thread = threading.Thread(target=self._run, name="keyfleet-feeder", daemon=True)

    def start(self) -> None:
        """Begin to feed."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end, after `stopping` was set."""
        self._thread.join(timeout_s)

    @property
    def is_done(self) -> bool:
        """Whether every line was read and accepted, or ended here."""
        return self._idle

    @property
    def set_aside(self) -> int:
        """Lines that wait for room."""
        return sum(len(queue) for queue in list(self._aside.values()))  # the feeder's thread may add to it meanwhile

    def feed_again(self, queue: str, line: InputLine) -> None:
        """A line that was accepted has been lost."""
        with self._again_lock:
            self._again.append((queue, line))
            self._idle = False

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._step()
        except BaseException as error:
            self.failure = error
        finally:
            for queue in self._aside.values():
                queue.close()

    def _step(self) -> None:
        self._take_again()
        fed_aside = self._feed_aside()
        read = self._read_some()
        self._flush_all()
        with self._again_lock:
            self._idle = self._at_end and not self.set_aside and not self._again
        if not read or (self._window.is_full() and not fed_aside):
            self._window.wait_for_change(WAIT_S)

    def _take_again(self) -> None:
        with self._again_lock:
            lost, self._again = self._again, []
            for queue, line in lost:
                self._aside_of(queue).push(line)

    def _aside_of(self, queue: str) -> AsideQueue:
        if queue not in self._aside:
            self._aside[queue] = AsideQueue(self._lines)
        return self._aside[queue]

    def _feed_aside(self) -> bool:
        fed = False
        for queue, aside in list(self._aside.items()):
            for _ in range(READ_AT_ONCE):
                if not len(aside) or not self._window.has_room(queue):
                    break
                line = aside.pop()
                if line is not None and self._is_wanted(line):
                    self._place(line, was_aside=True)
                    fed = True
        return fed

    def _is_wanted(self, line: InputLine) -> bool:
        """Whether a line has no row, and is not under way: one that seemed lost may have come back meanwhile."""
        return self._wanted.wants(line.number) and str(line.number) not in self._window

    def _read_some(self) -> bool:
        """Read on; False when there is nothing to read now."""
        if self._at_end or sum(aside.size_bytes for aside in self._aside.values()) > self._aside_bytes:
            return False
        found = False
        for line in self._next_lines():
            found = True
            if line.blank:
                self._on_row(blank_row(line.number))
            elif not self._is_wanted(line):
                self._parser.remember(line)
            else:
                self._place(line)
        return found and not self._at_end and self._held_line is None

    def _next_lines(self) -> Iterator[InputLine]:
        for _ in range(READ_AT_ONCE):
            if not self._lines.resumable and time.monotonic() - self._flushed_s > PROMPT_S:
                self._flush_all()  # before a read that may wait long for whoever writes the stream
            line = self._held_line or next(self._lines, None)
            self._held_line = None
            if line is None or (self._limit_lines is not None and line.number > self._limit_lines):
                self._at_end = line is not None or self._lines.is_at_end
                return
            end = self._lookahead_end()
            if end is not None and line.number >= end:
                self._held_line = line
                return
            self.fed = self._lines.fingerprint_at()
            yield line

    def _must_wait(self, queue: str, was_aside: bool) -> bool:
        """Whether a line has to be set aside: there is no room, or others of its queue were set aside before it."""
        is_behind_others = not was_aside and len(self._aside.get(queue, ())) > 0
        return is_behind_others or not self._window.has_room(queue)

    def _place(self, line: InputLine, *, was_aside: bool = False) -> None:
        guess = likely_model(line.raw)
        if guess is not None:
            guessed_queue = queue_of(guess)
            if self._must_wait(guessed_queue, was_aside):
                self._aside_of(guessed_queue).push(line)
                return
        try:
            request = self._admission.request(self._parser.parse(line))
        except InvalidRequest as error:
            self._on_invalid(line, error)
            return
        queue = queue_of(request.model)
        if self._must_wait(queue, was_aside):
            self._aside_of(queue).push(line)
            return
        kept = replace(line, raw=b"") if self._lines.seekable else line
        self._window.add(request.id, OpenRequest(queue, len(request.body), kept), accepted=False)
        waiting = self._pending.setdefault(queue, [])
        waiting.append(request)
        self._pending_bytes[queue] = self._pending_bytes.get(queue, 0) + len(request.body)
        if len(waiting) >= ACCEPT_AT_ONCE or self._pending_bytes[queue] >= ACCEPT_BYTES:
            self._flush(queue)

    def _flush_all(self) -> None:
        for queue in list(self._pending):
            self._flush(queue)
        self._flushed_s = time.monotonic()

    def _flush(self, queue: str) -> None:
        requests = self._pending.pop(queue, [])
        self._pending_bytes.pop(queue, None)
        if not requests:
            return
        self._before_accept()
        if self._acceptor.accept(queue, requests):
            self._window.note_accepted(request.id for request in requests)
            return
        for request in requests:
            self._window.remove(request.id)
