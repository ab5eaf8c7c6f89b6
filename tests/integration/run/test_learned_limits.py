"""What a provider's headers tell: limits that nobody configured, and use of the account by others."""

from __future__ import annotations

import json
import urllib.request

from keyfleet.running.fleet_status import FleetStatus, read_fleet_status
from keyfleet.sim import SimConfig, SimKey, SimLatency, SimProcess
from support import Place, ServerProcess, bare_line, sim_key, wait_until, write_lines
from support.fixtures import StartSim

KEY = sim_key("one", "40/60 second")
LINES = 60


def call_directly(sim: SimProcess, key: SimKey, times: int) -> None:
    """Use the account as somebody does who knows nothing of the fleet."""
    for _ in range(times):
        body = json.dumps({"model": "gpt-4o-mini", "prompt": "x", "max_tokens": 1}).encode()
        headers = {"Authorization": f"Bearer {key.api_key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{sim.base_url}/v1/completions", body, headers)
        with urllib.request.urlopen(request, timeout=10.0) as answer:
            assert answer.status == 200


def start_job(place: Place, broker: ServerProcess, *, workers: int = 1, concurrency: int = 32) -> None:
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    for _ in range(workers):
        place.start("worker", "--key", KEY.name, "--broker", broker.url, "--concurrency", str(concurrency))
    place.start("run", "in.jsonl", "--broker", broker.url, "--no-workers")


def wait_until_held(broker: ServerProcess, limit: str) -> FleetStatus:
    """Until every worker says that it waits for `limit`."""
    with broker.client() as client:

        def held() -> list[FleetStatus]:
            status = read_fleet_status(client, "main")
            reasons = [reason for worker in status.workers for reason, _ in worker.waits.values()]
            return [status] if reasons and all(limit in reason for reason in reasons) else []

        return wait_until(held, f"the fleet waits for {limit}")[0]


def test_limits_that_nobody_configured_are_learned_at_the_first_answer_and_then_held(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = start_sim(SimConfig(keys=(KEY,), latency=SimLatency(latency_ms=20)))
    place.write_keys(sim, (SimKey(name=KEY.name, api_key=KEY.api_key),))
    start_job(place, broker, workers=2)
    status = wait_until_held(broker, "40 requests per 60 s")
    assert {(limit.unit, limit.amount) for worker in status.workers for limit in worker.limits} == {("requests", 40)}
    wait_until(lambda: sim.stats()["keys"]["one"]["requests"] == 40, "the limit is used to the full")
    assert sim.stats()["over_limit"] == 0
    assert sim.stats()["by_status"] == {"200": 40}


def test_what_others_use_of_the_account_is_seen_and_left_to_them(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = start_sim(SimConfig(keys=(KEY,), latency=SimLatency(latency_ms=20)))
    place.write_keys(sim, (KEY,))
    call_directly(sim, KEY, 25)
    start_job(place, broker, concurrency=1)  # more at once would be under way before the first answer tells
    wait_until_held(broker, "40 requests per 60 s")
    assert sim.stats()["by_status"] == {"200": 40}
    assert sim.stats()["over_limit"] == 0
