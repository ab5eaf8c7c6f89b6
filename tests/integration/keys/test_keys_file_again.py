"""A keys file that changes while its keys are at work."""

from __future__ import annotations

import signal

from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, bare_line, sim_key, wait_until, write_lines, written_lines
from support.fixtures import StartSim
from support.ledger_check import assert_promises_kept
from support.processes import children_of

A, B, C = sim_key("a", "20/1 second"), sim_key("b", "20/1 second"), sim_key("c", "40/1 second")
LINES = 200


def test_keys_that_come_and_go_in_mid_job_lose_no_request(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=(A, B, C), latency=SimLatency(latency_ms=400, jitter_ms=100)))
    place.write_keys(sim, (A, B))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    output = place.directory / "in_results.jsonl"
    command = place.start("run", "in.jsonl")
    wait_until(lambda: written_lines(output) >= LINES // 10, "a tenth of the job is written")
    place.write_keys(sim, (B, C))
    wait_until(lambda: "c" in sim.stats()["keys"], "the key that was added works")
    wait_until(lambda: not sim.stats()["keys"]["a"]["in_flight"], "the calls of the one that was removed are over")
    of_a = sim.stats()["keys"]["a"]["requests"]
    assert command.wait() == 0, command.stderr
    stats = assert_promises_kept(sim, output, LINES)
    assert stats["keys"]["a"]["requests"] == of_a < LINES // 2
    assert stats["by_status"] == {"200": LINES}, "calls of the key that was removed were not finished"


def test_limits_that_change_apply_at_once_and_the_models_that_are_served_follow(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    fast = sim_key("a", "100/1 second")
    sim = start_sim(SimConfig(keys=(fast,)))
    slowly = {"sim-model": {"requests": ["1/minute"]}}
    path = place.write_keys(sim, (fast,), models=slowly)
    lines = [bare_line(n) for n in range(1, 41)]
    write_lines(place.directory / "in.jsonl", lines)
    output = place.directory / "in_results.jsonl"
    command = place.start("run", "in.jsonl", "--broker", broker.url, "--workers")
    wait_until(lambda: written_lines(output) == 1, "the only request of this minute is written")
    path.write_text(path.read_text().replace("1/minute", "100/second"))
    assert command.wait() == 0, command.stderr
    assert_promises_kept(sim, output, 40)


def test_a_file_that_is_broken_is_refused_with_its_line_and_the_keys_go_on(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = start_sim(SimConfig(keys=(A, B)))
    path = place.write_keys(sim, (A,))
    workers = place.start("worker", "--all", "--broker", broker.url)
    with broker.client() as client:
        wait_until(lambda: len(read_fleet_status(client, "main").workers) == 1, "the worker is there")
        (before,) = children_of(workers.pid)
        path.write_text("keys:\n  - name: not a name\n")
        workers.wait_until_said("the keys stay as they are")
        assert workers.said(f"{path}, line 2"), workers.stderr
        assert children_of(workers.pid) == [before]
        place.write_keys(sim, (A, B))
        wait_until(
            lambda: {worker.key_name for worker in read_fleet_status(client, "main").workers} == {"a", "b"},
            "a file that is right again is followed",
        )
        assert before in children_of(workers.pid)


def test_a_hang_up_has_new_workers_read_their_secrets_again(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = start_sim(SimConfig(keys=(A,)))
    secret = place.directory / "secret"
    secret.write_text("sk-of-nobody\n")
    path = place.write_keys(sim, (A,))
    path.write_text(path.read_text().replace(A.api_key, "file:secret"))
    worker = place.start("worker", "--key", "a", "--broker", broker.url)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, 11)])
    command = place.start("run", "in.jsonl", "--broker", broker.url, "--no-workers")
    wait_until(lambda: sim.stats()["requests"], "the provider has refused what is no key")
    secret.write_text(f"{A.api_key}\n")
    worker.signal(signal.SIGHUP)
    assert command.wait() == 0, command.stderr
    assert_promises_kept(sim, place.directory / "in_results.jsonl", 10)
