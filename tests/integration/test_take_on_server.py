"""Taking on a real server, whose Lua has bounds that the stand-in hasn't."""

from __future__ import annotations

import redis

from keyfleet.contract import Request
from keyfleet.ledger import JobLedger, JobOptions
from keyfleet_workers.dispatch.taker import Taker
from support.take_case import LEASE_MS, SCOPES, quota

EXPIRED = 2_500
"""In each of the two orders of urgency: more than one take may lease."""


def test_a_crowd_that_is_too_late_is_ended_in_parts_and_nothing_good_is_lost(client: redis.Redis) -> None:
    ledger = JobLedger(client, "f", "job", JobOptions())
    for urgent in (True, False):
        late = [Request(f"{urgent}{n}", "/v1/x", "m", b"{}", 1, {}, urgent, start_within_ms=1) for n in range(EXPIRED)]
        ledger.accept("q", late)
    ledger.accept("q", [Request(f"good{n}", "/v1/x", "m", b"{}", 1, {}, True) for n in range(10)])
    taker = Taker(client, "f", worker_id="w", key_name="one", scopes=SCOPES, lease_ms=LEASE_MS)
    ended = good = 0
    for _ in range(10):
        result = taker.take("q", quota(), 32)
        ended += len(result.expired)
        good += len(result.taken)
        if not result.ready_left:
            break
    assert (ended, good) == (2 * EXPIRED, 10)
