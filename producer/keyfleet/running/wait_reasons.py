"""Why requests of a model wait now, in words, and why a fleet can do nothing at all."""

from __future__ import annotations

from keyfleet.running.blocked_models import blocked_models, key_reasons, key_trouble, known_workers
from keyfleet.running.fleet_status import FleetStatus

__all__ = ["NO_WORKER", "why_none_can_work", "why_waiting"]

NO_WORKER = "no worker is running; start some with `keyfleet worker --all`"
"""What is said where nobody works."""

_CAN_NOT_WORK = frozenset({"revoked", "out_of_credit", "disabled", "unreachable", "resting"})
"""States of a key in which it starts nothing for long; one that cools down goes on by itself, in seconds mostly."""


def why_waiting(status: FleetStatus | None, queue: str) -> str:
    """Why requests of `queue` wait; `status` None: nothing is known of the workers now."""
    if status is None:
        return "nothing is known of the workers"
    if not known_workers(status):
        return NO_WORKER
    return "; ".join(blocked_models(status, [queue]) or tuple(status.waits({queue})) or ("answers take long",))


def why_none_can_work(status: FleetStatus) -> str:
    """Why no key of a running worker can work, in a sentence; empty where one can."""
    if any(worker.key.state not in _CAN_NOT_WORK for worker in status.workers):
        return ""
    reasons = {worker.key_name: key_trouble(worker.key) for worker in known_workers(status)}
    if not reasons:
        return NO_WORKER
    return f"no key can work now: {'; '.join(key_reasons(reasons))}"
