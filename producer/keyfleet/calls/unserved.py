"""Calls whose model no running worker's key serves, which would wait for nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from keyfleet.errors import NoKeyServes
from keyfleet.ledger import model_of
from keyfleet.running.blocked_models import known_workers
from keyfleet.running.fleet_status import FleetStatus, WorkerStatus
from keyfleet.running.wait_reasons import NO_WORKER

__all__ = ["KEYS_REFUSED", "why_unserved"]

KEYS_REFUSED = "keys_refused"
"""Code of the error where keys serve the model, and their providers refuse all of them."""

MOST_NAMES = 20
"""Models, or keys, that are named one by one."""


def why_unserved(status: FleetStatus, queue: str) -> Callable[[], NoKeyServes] | None:
    """What makes the error of a call of `queue` that nobody will ever start as things stand; None where somebody may.

    Keys that rest, are out of credit or can't be reached count as serving: they come back by themselves.
    """
    workers = known_workers(status)
    model = model_of(queue)
    if not workers:
        return lambda: NoKeyServes(NO_WORKER, model=model)
    serving = [worker for worker in workers if worker.standings.get(queue) != "other"]
    if not serving:
        patterns = tuple(sorted({pattern for worker in workers for pattern in worker.models}))
        message = f"no running worker's key serves the model {model!r}; served are {_in_words(patterns)}"
        return lambda: NoKeyServes(message, model=model, served=patterns)
    if all(worker.key.state == "revoked" for worker in serving):
        refused = f"every key is refused by its provider: {_refusals(serving)}"
        return lambda: NoKeyServes(refused, model=model, code=KEYS_REFUSED)
    return None


def _refusals(workers: Iterable[WorkerStatus]) -> str:
    return _in_words(sorted({f"{worker.key_name}: {worker.key.reason}" for worker in workers}), "; ")


def _in_words(names: Iterable[str], separator: str = ", ") -> str:
    listed = list(names)
    more = [f"and {len(listed) - MOST_NAMES} more"] if len(listed) > MOST_NAMES else []
    return separator.join([*listed[:MOST_NAMES], *more])
