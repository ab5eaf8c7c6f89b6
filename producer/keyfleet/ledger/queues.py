"""Queue names, and the keys that every script of a queue starts with."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote, unquote

from keyfleet.redis_keys import QueueKeys

__all__ = ["LUA_PACKAGE", "PAUSED_MS", "QUEUE_LUA", "model_of", "queue_key_list", "queue_names_in", "queue_of"]

LUA_PACKAGE = "keyfleet.ledger.lua"
QUEUE_LUA = (LUA_PACKAGE, "queue.lua")

PAUSED_MS = 2**53 - 1
"""Until then requests of a paused job are delayed (queue.lua)."""


def queue_of(model: str) -> str:
    """The name of a model's queue: the model's, with whatever Celery or Redis might misread percent-encoded."""
    return quote(model, safe="")


def model_of(queue: str) -> str:
    """The model of a queue."""
    return unquote(queue)


def queue_names_in(found: Iterable[bytes]) -> list[str]:
    """Queue names as the broker has them, without any that `queue_of` can't have made."""
    names = (name.decode("ascii", errors="replace") for name in found)
    return [name for name in names if name and queue_of(model_of(name)) == name]


def queue_key_list(fleet: str, queue: str) -> list[str]:
    """KEYS[1..9] of `queue.lua`."""
    keys = QueueKeys(fleet, queue)
    return [
        keys.requests,
        keys.places,
        keys.ready_urgent,
        keys.ready_bulk,
        keys.running,
        keys.leases,
        keys.expiries,
        keys.delayed,
        keys.attempts,
    ]
