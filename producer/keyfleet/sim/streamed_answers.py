"""Answers as server-sent events in the shapes of OpenAI's API.

The texts joined are those of the answer that isn't streamed. Chunks bear no `obfuscation`, as with
`stream_options: {"include_obfuscation": false}`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, zip_longest
from typing import Any

from keyfleet.sim.answers import answer_texts, reported_usage, response_document
from keyfleet.sim.conduct import SimAnswers
from keyfleet.sim.error_bodies import ApiError
from keyfleet.sim.prompts import Asked, Endpoint

__all__ = ["StreamedAnswer", "pieces_of", "streamed_answer"]

_encode = json.JSONEncoder(separators=(",", ":")).encode
_PIECE = re.compile(r"\s*\S+|\s+")


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """A stream's events, in parts that are written one by one.

    What stands before the first token, the tokens (each one of every choice that still has some), what stands after
    them, and the last event, or in its place one that tells of an error. To be consumed once, in this order.
    """

    opening: bytes = field(repr=False)
    tokens: Iterator[bytes] = field(repr=False)
    closing: Iterator[bytes] = field(repr=False)
    last_event: Callable[[], bytes] = field(repr=False)
    error_event: Callable[[ApiError], bytes] = field(repr=False)


def streamed_answer(endpoint: Endpoint, asked: Asked, settings: SimAnswers, number: int) -> StreamedAnswer:
    """The stream of a good answer; `number` makes its id unique."""
    if endpoint == "responses":
        shapes = _ResponseEvents(asked, settings, number)
        return StreamedAnswer(shapes.opening(), shapes.tokens(), shapes.closing(), shapes.last_event, shapes.error)
    chunks = _Chunks(asked, settings, number, is_chat=endpoint == "chat/completions")
    return StreamedAnswer(chunks.opening(), chunks.tokens(), chunks.closing(), _done, _error_chunk)


def pieces_of(text: str) -> Iterator[str]:
    """A text's tokens: its words, each with the white space before it."""
    return (match[0] for match in _PIECE.finditer(text))


def _data(document: dict[str, Any]) -> bytes:
    return f"data: {_encode(document)}\n\n".encode()


def _done() -> bytes:
    return b"data: [DONE]\n\n"


def _error_chunk(error: ApiError) -> bytes:
    return _data(error.document())


class _Chunks:
    """The chunks of chats and completions; those of several choices take turns, in the order of their index."""

    def __init__(self, asked: Asked, settings: SimAnswers, number: int, *, is_chat: bool) -> None:
        self._texts = answer_texts(asked, settings)
        self._usage = reported_usage(asked, settings) if asked.include_usage else None
        self._is_chat = is_chat
        self._common: dict[str, Any] = {
            "id": f"{'chatcmpl' if is_chat else 'cmpl'}-sim{number:012x}",
            "object": "chat.completion.chunk" if is_chat else "text_completion",
            "created": int(time.time()),
            "model": asked.model,
            **({"service_tier": "default"} if is_chat else {}),
            "system_fingerprint": "fp_sim",
        }
        # What all chunks share is encoded once, since a long stream has very many.
        self._before = f'data: {_encode(self._common)[:-1]},"choices":['
        self._after = "]}\n\n" if self._usage is None else '],"usage":null}\n\n'

    def opening(self) -> bytes:
        """The role of each choice, in a chat."""
        role = {"role": "assistant", "content": "", "refusal": None}
        return b"".join(self._chunk(self._delta(index, role)) for index in self._indices()) if self._is_chat else b""

    def tokens(self) -> Iterator[bytes]:
        for row in zip_longest(*(pieces_of(text) for text in self._texts)):
            yield b"".join(self._chunk(self._text(index, piece)) for index, piece in enumerate(row) if piece)

    def closing(self) -> Iterator[bytes]:
        for index in self._indices():
            yield self._chunk(self._delta(index, {}, "stop") if self._is_chat else self._text(index, "", "stop"))
        if self._usage is not None:
            yield _data(self._common | {"choices": [], "usage": self._usage})

    def _indices(self) -> range:
        return range(len(self._texts))

    def _text(self, index: int, piece: str, finish_reason: str | None = None) -> dict[str, Any]:
        if self._is_chat:
            return self._delta(index, {"content": piece}, finish_reason)
        return {"text": piece, "index": index, "logprobs": None, "finish_reason": finish_reason}

    def _delta(self, index: int, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        return f"{self._before}{_encode(choice)}{self._after}".encode()


class _ResponseEvents:
    """The typed, numbered events of the Responses API for one message of one text."""

    def __init__(self, asked: Asked, settings: SimAnswers, number: int) -> None:
        self._text = answer_texts(asked, settings)[0]
        self._response = response_document(asked, self._text, settings, number)
        self._message: dict[str, Any] = self._response["output"][0]
        self._part: dict[str, Any] = self._message["content"][0]
        self._place = {"item_id": self._message["id"], "output_index": 0, "content_index": 0}
        self._numbers = count()

    def opening(self) -> bytes:
        begun = {"response": self._response | {"status": "in_progress", "output": [], "usage": None}}
        message = self._message | {"status": "in_progress", "content": []}
        return b"".join(
            (
                self._event("response.created", begun),
                self._event("response.in_progress", begun),
                self._event("response.output_item.added", {"output_index": 0, "item": message}),
                self._event("response.content_part.added", self._place | {"part": self._part | {"text": ""}}),
            )
        )

    def tokens(self) -> Iterator[bytes]:
        for piece in pieces_of(self._text):
            yield self._event("response.output_text.delta", self._place | {"delta": piece, "logprobs": []})

    def closing(self) -> Iterator[bytes]:
        yield self._event("response.output_text.done", self._place | {"text": self._text, "logprobs": []})
        yield self._event("response.content_part.done", self._place | {"part": self._part})
        yield self._event("response.output_item.done", {"output_index": 0, "item": self._message})

    def last_event(self) -> bytes:
        return self._event("response.completed", {"response": self._response})

    def error(self, error: ApiError) -> bytes:
        """As OpenAI sends it, with the error in an object of its own (its reference shows the fields without it)."""
        return self._event("error", error.document())

    def _event(self, name: str, fields: dict[str, Any]) -> bytes:
        return b"event: %b\n" % name.encode() + _data({"type": name, "sequence_number": next(self._numbers), **fields})
