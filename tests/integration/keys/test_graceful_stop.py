"""Workers that are told to stop: what they finish, what they hand back, and how long they take."""

from __future__ import annotations

import signal
import time

import redis

from keyfleet import redis_keys
from keyfleet.redis_keys import QueueKeys
from keyfleet.sim import SimConfig, SimLatency, SimProcess
from support import Command, Place, ServerProcess, bare_line, sim_key, wait_until, write_lines
from support.fixtures import StartSim
from support.ledger_check import assert_promises_kept, repeats_in
from support.processes import children_of, signal_all

KEY = sim_key("a", "100/1 second")
LINES = 30
LONG_CALL_MS = 4000
"""A call that is still under way when a worker has ended at once, on a busy machine too."""

QUEUE = QueueKeys("main", "sim-model")


def begin(
    place: Place, start_sim: StartSim, broker: ServerProcess, *options: str, latency_ms: float
) -> tuple[SimProcess, Command, Command]:
    """A worker with 10 calls under way, and the run that waits for it."""
    sim = start_sim(SimConfig(keys=(KEY,), latency=SimLatency(latency_ms=latency_ms)))
    place.settings["KEYFLEET_LEASE_S"] = "3"
    place.write_keys(sim, (KEY,))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    worker = place.start("worker", "--broker", broker.url, "--concurrency", "10", *options)
    run = place.start("run", "in.jsonl", "--broker", broker.url, "--no-workers")
    wait_until(lambda: sim.stats()["in_flight"] == 10, "ten calls are under way")
    return sim, worker, run


def held(client: redis.Redis) -> tuple[int, int]:
    """How many requests are leased, and how many workers hold the key."""
    return client.zcard(QUEUE.running), client.zcard(redis_keys.holders("main", "a"))  # type: ignore[return-value]


def test_calls_under_way_are_finished_and_the_lease_is_free(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim, worker, run = begin(place, start_sim, broker, latency_ms=2000)
    with broker.client() as client:
        worker.signal(signal.SIGTERM)
        worker.wait_until_said("stopping: calls under way are finished first")
        wait_until(lambda: held(client)[0] == 10, "what was not sent is handed back")
        assert sim.stats()["in_flight"] == 10, "it waited for the calls before it handed back the others"
        assert worker.wait() == 0, worker.stderr
        assert held(client) == (0, 0)
    assert sim.stats()["by_status"].keys() == {"200"}
    place.start("worker", "--broker", broker.url)
    assert run.wait() == 0, run.stderr
    assert_promises_kept(sim, place.directory / "in_results.jsonl", LINES)


def test_calls_that_outlast_the_time_for_it_are_left_to_their_leases(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim, worker, run = begin(place, start_sim, broker, "--shutdown-timeout", "1s", latency_ms=LONG_CALL_MS)
    with broker.client() as client:
        worker.signal(signal.SIGTERM)
        assert worker.wait(10) == 0, worker.stderr
        assert "200" not in sim.stats()["by_status"], "it waited longer than it was told"
        assert held(client) == (10, 0), "a call that may still be answered was handed back"
    place.start("worker", "--broker", broker.url)
    assert run.wait() == 0, run.stderr
    stats = assert_promises_kept(sim, place.directory / "in_results.jsonl", LINES, repeats=10)
    assert stats["requests"] <= LINES + 10


def test_a_second_signal_ends_it_at_once_and_nothing_is_lost(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim, worker, run = begin(place, start_sim, broker, latency_ms=LONG_CALL_MS)
    worker.signal(signal.SIGTERM)
    worker.wait_until_said("the same signal again ends at once")  # of two that come together a process sees one
    with broker.client() as client:
        worker.signal(signal.SIGTERM)
        began_s = time.monotonic()
        assert worker.wait(10) == 0
        assert time.monotonic() - began_s < 3
        assert "200" not in sim.stats()["by_status"], "it waited for its calls"
        assert held(client) == (10, 0)
    place.start("worker", "--broker", broker.url)
    assert run.wait() == 0, run.stderr
    assert_promises_kept(sim, place.directory / "in_results.jsonl", LINES, repeats=10)


def test_a_terminal_or_service_manager_that_signals_every_process_asks_once(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim, worker, run = begin(place, start_sim, broker, latency_ms=1500)
    both = [worker.pid, *children_of(worker.pid)]
    signal_all(both, signal.SIGHUP)
    signal_all(both, signal.SIGINT)
    assert worker.wait() == 0, worker.stderr
    stats = sim.stats()
    assert (repeats_in(stats), stats["in_flight"], stats["by_status"].keys()) == (0, 0, {"200"})
    place.start("worker", "--broker", broker.url)
    assert run.wait() == 0, run.stderr
    assert_promises_kept(sim, place.directory / "in_results.jsonl", LINES)
