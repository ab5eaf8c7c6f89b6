"""A fleet that exists in words only: as many workers, holds, queues and jobs as a test wants to see shown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import redis

from keyfleet import redis_keys
from keyfleet.jobs import pause_job, server_now_ms
from keyfleet.redis_keys import QueueKeys

__all__ = ["ToldFleet"]

LIFE_MS = 3_600_000
STATES = ("ready", "cooling", "disabled", *("ready",) * 4, "revoked", "ready", "resting")
LONELY = "nobody-serves-this"
REASONS = {
    "cooling": "429 rate_limit_exceeded: Rate limit reached for gpt-4o in organization org-Zq7vXw2pLk9sTf4rBn6mYc1d",
    "disabled": "too expensive until the first of the month (alice)",
    "revoked": "401 invalid_api_key: Incorrect API key provided. You can find your key at platform.openai.com.",
    "resting": "429 rate_limit_exceeded: 10000 requests per day",
}
REST_MS: dict[str, int | None] = {"cooling": 42_000, "resting": 7_325_000, "disabled": None, "revoked": None}
MODELS = ("gpt-4o-mini", "text-embedding-3-large", "a-fine-tuned-model-of-somebody-with-a-rather-long-name:v12")


@dataclass(frozen=True, slots=True)
class ToldFleet:
    """Writes what real workers and producers would have written, with a longer life."""

    client: redis.Redis
    fleet: str = "main"

    def tell(self, keys: int) -> None:
        """Keys of all states, three queues and four jobs; without keys nothing at all."""
        self.client.flushall()
        if not keys:
            return
        now_ms = server_now_ms(self.client)
        pipeline = self.client.pipeline(transaction=False)
        for number in range(keys):
            self._tell_key(pipeline, number, now_ms)
        for number, model in enumerate((*MODELS, LONELY)):
            self._tell_queue(pipeline, model, 3 + 1117 * number, now_ms)
        for number, state in enumerate(("open", "open", "open", "done")):
            self._tell_job(pipeline, number, state, now_ms)
        pipeline.execute()
        pause_job(self.client, self.fleet, _job_id(1))

    def _tell_key(self, pipeline: Any, number: int, now_ms: int) -> None:
        name = f"research-{number}" if number % 9 else f"the-keys-of-the-laboratory-for-everything-{number}"
        state = STATES[number % len(STATES)]
        worker_id = f"{name}:host:{number}"
        scope = f"key:{number:016x}:disabled"
        facts = {
            "provider": "openai",
            "group": f"org-{number % 7}" if number % 2 else None,
            "models": list(MODELS),
            "disabled": scope,
            "scopes": [scope],
            "ways": f"key:{number:016x}:from:",
            "pools": [f"key:{number}:gpt-4o*"],
        }
        status = {**self._status(name, number), "state": {"name": state, "reason": "", "rest_s": 0.0}}
        pipeline.hset(redis_keys.key_facts(self.fleet), name, json.dumps(facts))
        pipeline.zadd(redis_keys.configured(self.fleet), {name: now_ms + LIFE_MS})
        if number % 40 != 39:
            pipeline.zadd(redis_keys.workers(self.fleet), {worker_id: now_ms + LIFE_MS})
            pipeline.set(redis_keys.worker(self.fleet, worker_id), json.dumps(status), px=LIFE_MS)
        if state != "ready":
            pipeline.set(redis_keys.hold(scope), f"{state} {now_ms} {REASONS[state]}", px=REST_MS[state])

    def _status(self, name: str, number: int) -> dict[str, Any]:
        requests, tokens = (number * 37) % 501, (number * 104_729) % 200_001
        day = {"quota": f"key:{number}:gpt-4o*", "unit": "requests", "amount": 10_000, "window_s": 86_400}
        limits = [
            {"quota": f"key:{number}:gpt-4o*", "unit": "requests", "amount": 500, "window_s": 60, "used": requests},
            {"quota": f"key:{number}:gpt-4o*", "unit": "tokens", "amount": 200_000, "window_s": 60, "used": tokens},
            *([{**day, "used": 9_999}] if number % 3 == 0 else []),
            *(
                [{"quota": f"key:{number}:text-*", "unit": "tokens", "amount": 1_000_000, "window_s": 60, "used": 7}]
                if number % 3 == 1
                else []
            ),
        ]
        return {
            "key": name,
            "models": list(MODELS),
            "host": f"ip-10-20-30-{number % 250}.eu-central-1.compute.internal",
            "pid": 1000 + number,
            "in_flight": number % 33,
            "slots": 32,
            "short_of_slots": False,
            "waits": {MODELS[0]: ["500 requests per 60 s", 41.0]},
            "limits": limits,
            "totals": {},
            "errors": {"rate_limited": 1204, "unreachable": 3, "retried": 17} if number % 4 == 1 else {},
            "pace": {"requests": requests, "tokens": tokens},
            "probed": {"words": "works: the provider lists 61 models", "ago_s": 75.0} if number % 5 == 2 else None,
            "queues": {model: _standing(number, model) for model in (*MODELS, LONELY)},
            "has_left": False,
        }

    def _tell_queue(self, pipeline: Any, model: str, waiting: int, now_ms: int) -> None:
        keys = QueueKeys(self.fleet, model)
        pipeline.sadd(redis_keys.queues(self.fleet), model)
        for number in range(waiting):
            request = f"{_job_id(number % 2)}:{number + 1}"
            pipeline.hset(keys.places, request, f"0 {number} 1 {now_ms - 95_000} 0 -")
            pipeline.zadd(keys.ready_bulk, {request: number})

    def _tell_job(self, pipeline: Any, number: int, state: str, now_ms: int) -> None:
        fields = {
            "state": state,
            "begun_ms": now_ms - 600_000 * (number + 1),
            "seen_ms": now_ms + LIFE_MS if number < 2 else now_ms - 60_000,
            "accepted": 4321,
            "succeeded": 3001 if state == "open" else 12_345 - 17 * number,
            "failed": 17 * number,
            "total": 12_345,
            "name": "an-input-file-of-somebody-with-a-rather-long-name-2026-11.jsonl" if number % 2 else "in.jsonl",
            "host": "ip-10-20-30-40.eu-central-1.compute.internal",
            "pace_before_ms": now_ms - 60_000,
            "pace_before_ended": 2400,
        }
        pipeline.sadd(redis_keys.jobs(self.fleet), _job_id(number))
        pipeline.hset(redis_keys.job(self.fleet, _job_id(number)), mapping=fields)


def _standing(number: int, model: str) -> str:
    if model == LONELY:
        return "other"
    return "lost" if number % 11 == 4 and model == MODELS[1] else "serves"


def _job_id(number: int) -> str:
    return f"{number:x}" * 8 + "0" * 24
