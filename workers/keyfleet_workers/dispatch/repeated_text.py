"""What an error's words repeat of the request that met it: kept out of logs, and of states that all hosts see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from keyfleet.config import HIDDEN

__all__ = ["without_request"]

MOST_CHARACTERS = 300
"""Of a longer message the rest is cut off."""

WINDOW_CHARACTERS = 8
SHORTEST_RUN = 2 * WINDOW_CHARACTERS - 1
"""What is as long and stands in both is no chance: it holds a whole window, wherever it begins (characters)."""

SHORTEST_WHOLE = 6
"""A text of the request that is shorter than a run is looked for as a whole, from this length on (characters)."""

MOST_PLACES = 20
"""Places of one window in a request that are looked at."""

_NAMES = frozenset({"model", "role", "type"})
"""Fields whose texts are names, which errors speak of by right."""


def without_request(message: str, body: bytes) -> str:
    """`message` on one line, cut to MOST_CHARACTERS, with the texts of the request `body` hidden in it.

    Weakness: of a text that is repeated with escapes in it, up to SHORTEST_RUN characters between two of them stay.
    """
    message = " ".join(message.split())[:MOST_CHARACTERS]
    try:
        texts = [" ".join(text.split()) for text in _texts(json.loads(body))]
    except (ValueError, RecursionError):
        texts = [" ".join(body.decode(errors="replace").split())]
    hidden = [False] * len(message)
    for text in texts:
        for start, end in _shared(message, text):
            hidden[start:end] = [True] * (end - start)
    return _masked(message, hidden)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, one in value.items():
            if name not in _NAMES:
                yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _shared(message: str, text: str) -> Iterator[tuple[int, int]]:
    """Where `message` holds the whole of a short `text`, or a run of a long one."""
    if len(text) < SHORTEST_RUN:
        place = message.find(text) if len(text) >= SHORTEST_WHOLE else -1
        while place >= 0:
            yield place, place + len(text)
            place = message.find(text, place + len(text))
        return
    for start in range(0, len(message) - WINDOW_CHARACTERS + 1, WINDOW_CHARACTERS):
        window = message[start : start + WINDOW_CHARACTERS]
        place = text.find(window)
        for _ in range(MOST_PLACES):
            if place < 0:
                break
            run = _run(message, start, text, place)
            if run[1] - run[0] >= SHORTEST_RUN:
                yield run
            place = text.find(window, place + 1)


def _run(message: str, start: int, text: str, place: int) -> tuple[int, int]:
    """How far both agree around a window that stands in both."""
    back = 0
    while back < min(start, place) and message[start - back - 1] == text[place - back - 1]:
        back += 1
    ahead = WINDOW_CHARACTERS
    while start + ahead < len(message) and place + ahead < len(text) and message[start + ahead] == text[place + ahead]:
        ahead += 1
    return start - back, start + ahead


def _masked(message: str, hidden: list[bool]) -> str:
    parts: list[str] = []
    for letter, is_hidden in zip(message, hidden, strict=True):
        if not is_hidden:
            parts.append(letter)
        elif not parts or parts[-1] is not HIDDEN:
            parts.append(HIDDEN)
    return "".join(parts)
