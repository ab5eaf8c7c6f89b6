"""What those who may act can do on the page, each told in a sentence. It takes no secret."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import redis

from keyfleet import redis_keys
from keyfleet.jobs import cancel_job, pause_job, resume_job
from keyfleet.jobs.finding import short_id
from keyfleet_workers.overview import KeyActions, KeyNotKnown

__all__ = ["MAX_REASON_CHARACTERS", "ActionFailed", "FleetActions"]

logger = logging.getLogger(__name__)

MAX_REASON_CHARACTERS = 200
"""Length of the reason for which a key is disabled; it is shown wherever the key is waited for."""

DEFAULT_REASON = "by hand"


class ActionFailed(Exception):
    """It was not done. `status` is HTTP's."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


class FleetActions:
    """On one fleet, for the user whose name is given each time, None where nobody is asked for one."""

    def __init__(self, client: redis.Redis, fleet: str, *, declare_flags: bool = True) -> None:
        self._client = client
        self._fleet = fleet
        self._keys = KeyActions(client, fleet, declare_flags=declare_flags)
        self._declare_flags = declare_flags

    def on_key(self, name: str, action: str, reason: str, user: str | None) -> str:
        """`enable`, `disable` or `probe` a key; returns what came of it. Raises ActionFailed and redis.RedisError."""
        actions: dict[str, Callable[[str], str]] = {
            "disable": partial(self._disable, reason=reason, user=user),
            "enable": self._enable,
            "probe": self._probe,
        }
        try:
            said = actions[action](name)
        except KeyNotKnown as error:
            raise ActionFailed(404, str(error)) from None
        logger.info("%s, asked for by %s", said, user or "somebody on this machine")
        return said

    def on_job(self, job_id: str, action: str, user: str | None) -> str:
        """`pause`, `resume` or `cancel` a job; returns what came of it. Raises ActionFailed and redis.RedisError."""
        if not self._client.exists(redis_keys.job(self._fleet, job_id)):
            raise ActionFailed(404, f"there is no job {short_id(job_id)} here any more")
        actions = {"pause": self._pause, "resume": self._resume, "cancel": self._cancel}
        said = actions[action](job_id)
        logger.info("%s, asked for by %s", said, user or "somebody on this machine")
        return said

    def _disable(self, name: str, reason: str, user: str | None) -> str:
        words = " ".join(reason.split())[:MAX_REASON_CHARACTERS] or DEFAULT_REASON
        self._keys.disable(name, f"{words} ({user})" if user else words)
        return f"{name} is disabled: {words}"

    def _enable(self, name: str) -> str:
        return f"{name} is enabled" if self._keys.enable(name) else f"nothing held {name}"

    def _probe(self, name: str) -> str:
        if not self._keys.probe(name):
            raise ActionFailed(409, f"no worker serves {name} now, so nobody can ask its provider")
        return f"{name} is being probed"

    def _pause(self, job_id: str) -> str:
        waited = pause_job(self._client, self._fleet, job_id, declare_flags=self._declare_flags)
        if waited is None:
            raise ActionFailed(409, f"job {short_id(job_id)} has ended already")
        return f"job {short_id(job_id)} is paused; {waited:,} of its requests wait"

    def _resume(self, job_id: str) -> str:
        if not resume_job(self._client, self._fleet, job_id, declare_flags=self._declare_flags):
            return f"job {short_id(job_id)} was not paused"
        return f"job {short_id(job_id)} goes on"

    def _cancel(self, job_id: str) -> str:
        cancelled = cancel_job(self._client, self._fleet, job_id, declare_flags=self._declare_flags)
        if cancelled.state != "cancelled":
            raise ActionFailed(409, f"job {short_id(job_id)} is {cancelled.state} already")
        withdrawn = f"{cancelled.withdrawn:,} requests are withdrawn"
        return f"job {short_id(job_id)} is cancelled; {withdrawn}, {cancelled.in_flight:,} are being sent still"
