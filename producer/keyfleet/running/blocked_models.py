"""Why no key can serve a model now: which keys there are, and what keeps each of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from keyfleet.contract import TOO_LARGE_FOR_KEY
from keyfleet.ledger import model_of
from keyfleet.running.fleet_status import FleetStatus, KeyStanding, WorkerStatus
from keyfleet.running.progress import duration_text

__all__ = ["blocked_models", "key_reasons", "key_trouble", "known_workers"]

MOST_KEYS = 8
"""Keys that are named one by one."""

OTHER_MODELS = "doesn't serve this model"

LONG_WAIT_S = 180.0
"""A key that must wait for longer can't serve a model now; limits of a minute never take so long (s)."""

REASON_CHARACTERS = 120
"""Longest part of a provider's words that is shown."""


def blocked_models(fleet: FleetStatus, queues: Iterable[str], configured: Sequence[str] = ()) -> tuple[str, ...]:
    """A sentence for each of `queues` whose model no key can serve now; none while no worker is known.

    `configured` are the names of all keys, where they are known: one without a worker is told too.
    """
    workers = known_workers(fleet)
    if not workers:
        return ()
    sentences = (_sentence(workers, queue, configured) for queue in sorted(queues))
    return tuple(sentence for sentence in sentences if sentence is not None)


def known_workers(fleet: FleetStatus) -> tuple[WorkerStatus, ...]:
    """Those that are alive, and for keys that nobody serves now those that have lately left them."""
    served = {worker.key_name for worker in fleet.workers}
    return (*fleet.workers, *(worker for worker in fleet.left if worker.key_name not in served))


def _sentence(workers: Sequence[WorkerStatus], queue: str, configured: Sequence[str]) -> str | None:
    reasons: dict[str, str] = {}
    for worker in workers:
        reason = _why_not(worker, queue)
        if reason is None:
            return None
        reasons[worker.key_name] = reason
    for name in configured:
        reasons.setdefault(name, "no worker serves it now")
    others = [name for name, reason in reasons.items() if reason == OTHER_MODELS]
    if len(others) > 1:  # nothing is wrong with those: they are counted, and the rest is named
        reasons = {name: reason for name, reason in reasons.items() if name not in others}
    shown = key_reasons(reasons)
    if len(others) > 1:
        shown.append(f"{len(others)} {'other keys' if reasons else 'keys'} don't serve this model")
    return f"no key can serve {model_of(queue)} now: {'; '.join(shown)}. It goes on by itself when one can"


def key_reasons(reasons: Mapping[str, str]) -> list[str]:
    """Keys by their names with a reason each, as words; of many how many more there are."""
    shown = [f"{name} {reason}" for name, reason in sorted(reasons.items())[:MOST_KEYS]]
    if len(reasons) > MOST_KEYS:
        shown.append(f"and {len(reasons) - MOST_KEYS} more")
    return shown


def _why_not(worker: WorkerStatus, queue: str) -> str | None:
    """Why a worker's key can't serve `queue` now; None where it can, or where that isn't known yet."""
    standing = worker.standings.get(queue)
    if standing == "other":
        return OTHER_MODELS
    if standing == "lost":
        return "was told that it can't use this model"
    if worker.key.state == "ready":
        return _long_wait(worker, queue)
    if standing is None and not worker.has_left:
        return None  # one that has left may have done so before the queue was there
    return key_trouble(worker.key)


def _long_wait(worker: WorkerStatus, queue: str) -> str | None:
    """What a key that is well waits for so long that it can't be said to serve `queue`, as a limit of a day."""
    reason, until_s = worker.waits.get(queue, ("", 0.0))
    left_s = until_s - time.time()
    if reason == TOO_LARGE_FOR_KEY:
        return "has limits that are too small for the requests that wait"
    if left_s < LONG_WAIT_S:
        return None
    return f"waits for {duration_text(left_s)} ({reason[:REASON_CHARACTERS]})"


def key_trouble(key: KeyStanding) -> str:
    """What keeps a key from being used, and until when, as words behind its name."""
    reason = key.reason[:REASON_CHARACTERS]
    if key.state == "disabled":
        return f"is disabled ({reason}); `keyfleet keys enable` ends that" if reason else "is disabled by hand"
    words = {
        "out_of_credit": "is out of credit",
        "revoked": "is refused by its provider",
        "unreachable": "can't reach its provider",
        "resting": "rests until its limit of a day allows more",
    }.get(key.state, "pauses after errors of its provider")
    then = "probed now and then" if key.rest_s is None else f"tried again in {max(1, round(key.rest_s))} s"
    return f"{words} ({reason}; {then})"
