"""The ACL users of docs/operations.md, taken from that very file: what they suffice for, and what they don't allow."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.broker import connect
from keyfleet.redis_keys import QueueKeys
from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimConfig, SimLatency
from support import Command, Place, bare_line, lines_answered, sim_key, wait_until, write_lines
from support.acl_users import FLOWER, MONITOR, OPERATIONS, PRODUCER, WORKER, GuardedBroker, documented_users
from support.fixtures import StartSim
from support.flower import Flower

ROOT = Path(__file__).parents[3]
FILES = [path for folder in ("producer", "workers") for path in (ROOT / folder).rglob("*.*")]
QUEUE = QueueKeys("main", "sim-model")
BY_LIBRARIES = {
    "auth",
    "hello",
    "select",
    "client|setinfo",
    "client|setname",
    "evalsha",
    "script|load",
    "script|exists",
}
"""What redis-py sends by itself."""

SCRIPTS_OF_PRODUCERS = {"open", "accept", "close", "seen", "cancel", "note_failures"}
SCRIPTS_OF_BOTH = {"queue", "pause", "failures", "push_ticket", "withdraw", "doom", "discard", "remove"}

BY_CELERY = {"multi", "exec", "brpop", "publish", "psubscribe", "punsubscribe"}
"""What Celery's transport sends by itself."""


def run(place: Place, guarded: GuardedBroker, *arguments: str, user: str = PRODUCER) -> Command:
    """A command to its end, as a documented user."""
    return place.run(*arguments, KEYFLEET_BROKER_URL=guarded.url(user))


def start(place: Place, guarded: GuardedBroker, *arguments: str, user: str) -> Command:
    return place.start(*arguments, KEYFLEET_BROKER_URL=guarded.url(user))


def granted(user: str) -> set[str]:
    return {rule[1:] for rule in documented_users()[user] if rule.startswith("+")}


def commands_of_scripts(is_wanted: Callable[[str], bool]) -> set[str]:
    """The commands that Lua scripts of these names call."""
    scripts = [path for path in FILES if path.suffix == ".lua" and is_wanted(path.stem)]
    return {
        name.lower() for path in scripts for name in re.findall(r"call\('([A-Z]+)'", path.read_text(encoding="utf-8"))
    }


def test_each_documented_user_may_do_what_the_scripts_of_its_part_do() -> None:
    assert list(documented_users()) == [PRODUCER, WORKER, MONITOR, FLOWER]
    of_producers = commands_of_scripts(lambda name: name in SCRIPTS_OF_PRODUCERS | SCRIPTS_OF_BOTH)
    of_workers = commands_of_scripts(lambda name: name not in SCRIPTS_OF_PRODUCERS)
    assert len(of_producers) > 20
    assert of_producers <= granted(PRODUCER)
    assert of_workers <= granted(WORKER)


def test_no_documented_user_may_do_what_no_part_does() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in FILES if path.suffix == ".py")
    from_python = set(re.findall(r"\.([a-z]+)\(", text))
    from_python |= {name.removesuffix("_iter") for name in re.findall(r"\.([a-z]+_iter)\(", text)}
    used = commands_of_scripts(lambda name: True) | from_python | BY_LIBRARIES
    assert granted(PRODUCER) <= used
    assert granted(WORKER) <= used | BY_CELERY
    assert granted(MONITOR) <= used
    assert granted(FLOWER) <= used | BY_CELERY


def test_a_whole_job_runs_as_the_documented_users(place: Place, start_sim: StartSim, guarded: GuardedBroker) -> None:
    key = sim_key("one", "100/1 second")
    place.write_keys(start_sim(SimConfig(keys=(key,))), (key,))
    lines = [bare_line(n, "[[sim:500x1]]" if n % 9 == 0 else "[[sim:400]]" if n % 20 == 7 else "") for n in range(60)]
    write_lines(place.directory / "in.jsonl", lines)
    worker = start(place, guarded, "worker", "--key", "one", user=WORKER)
    command = start(place, guarded, "run", "in.jsonl", "--no-workers", user=PRODUCER)
    assert command.wait() == 1, command.stderr + worker.stderr
    assert len(lines_answered(place.directory / "in_results.jsonl")) == 58
    assert guarded.denied() == []
    assert worker.code is None

    failed = run(place, guarded, "jobs", "failed", "in.jsonl", "--json")
    assert [group["count"] for group in json.loads(failed.stdout)] == [2]
    assert run(place, guarded, "jobs", "retry", "in.jsonl").code == 1
    assert run(place, guarded, "jobs", "purge", "in.jsonl").code == 0
    assert json.loads(run(place, guarded, "jobs", "--json").stdout) == []
    assert guarded.denied() == []


PROGRAM = """
import keyfleet
CHAT = "/v1/chat/completions"
BODY = {"model": "sim-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
with keyfleet.Fleet() as fleet:
    fleet.call(CHAT, BODY)
    assert "gpt-4o" in [model["id"] for model in fleet.models()]
    job = fleet.submit([BODY] * 5, name="job")
    job.wait()
    assert sum(result.ok for result in job) == 5
    assert sum(result.ok for result in fleet.map([BODY] * 5)) == 5
    waiting = fleet.submit([BODY] * 500, name="other")
    waiting.cancel()
    waiting.wait()
    try:
        fleet.call(CHAT, {**BODY, "messages": [{"role": "user", "content": "[[sim:hang]]"}]}, timeout_s=1)
    except keyfleet.DeadlineExceeded:
        print("done")
"""


def test_a_program_calls_and_submits_as_the_documented_producer(
    place: Place, start_sim: StartSim, guarded: GuardedBroker
) -> None:
    key = sim_key("one", "50/1 second")
    place.write_keys(start_sim(SimConfig(keys=(key,))), (key,))
    worker = start(place, guarded, "worker", "--key", "one", user=WORKER)
    program = place.start_program(PROGRAM, KEYFLEET_BROKER_URL=guarded.url(PRODUCER))
    assert program.wait() == 0, program.stderr + worker.stderr
    assert program.stdout == "done\n"
    assert guarded.denied() == []


def test_workers_that_lease_keys_and_commands_beside_a_job_need_no_more(
    place: Place, start_sim: StartSim, guarded: GuardedBroker
) -> None:
    keys = (sim_key("one", "5/1 second"), sim_key("two", "5/1 second"))
    sim = start_sim(SimConfig(keys=keys))
    place.write_keys(sim, keys)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(200)])
    worker = start(place, guarded, "worker", user=WORKER)
    command = start(place, guarded, "run", "in.jsonl", "--no-workers", user=PRODUCER)
    wait_until(lambda: "one" in sim.stats()["keys"], "the first key works")
    listed = {key["name"]: key for key in json.loads(run(place, guarded, "keys", "--json", user=WORKER).stdout)}
    assert {name: len(key["workers"]) for name, key in listed.items()} == {"one": 1, "two": 0}
    disabled = run(place, guarded, "keys", "disable", "one", user=WORKER)
    assert disabled.code == 0, disabled.stderr
    wait_until(lambda: "two" in sim.stats()["keys"], "another key is leased instead")
    enabled = run(place, guarded, "keys", "enable", "one", user=WORKER)
    assert enabled.said("one: enabled")
    probed = run(place, guarded, "keys", "probe", "one", "--model", "sim-model", user=WORKER)
    assert probed.said("one: works")
    assert run(place, guarded, "jobs", "pause", "in.jsonl").code == 0
    assert run(place, guarded, "jobs", "resume", "in.jsonl").code == 0
    cancelled = run(place, guarded, "jobs", "cancel", "in.jsonl")
    assert cancelled.code == 0, cancelled.stderr
    assert command.wait() == 3, command.stderr + worker.stderr
    assert guarded.denied() == []


def test_the_monitor_sees_how_things_stand_and_neither_reads_requests_nor_writes(
    place: Place, start_sim: StartSim, guarded: GuardedBroker
) -> None:
    key = sim_key("one", "5/1 second")
    place.write_keys(start_sim(SimConfig(keys=(key,), latency=SimLatency(latency_ms=100))), (key,))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(2000)])  # more than there is time for
    start(place, guarded, "worker", "--key", "one", user=WORKER)
    start(place, guarded, "run", "in.jsonl", "--no-workers", user=PRODUCER)
    with connect(guarded.url(MONITOR)) as monitor:
        wait_until(lambda: read_fleet_status(monitor, "main").workers, "the monitor sees the worker")
        wait_until(lambda: monitor.zcard(QUEUE.ready_bulk), "the monitor sees what waits")
        jobs: Any = monitor.smembers(redis_keys.jobs("main"))
        (job,) = (name.decode() for name in jobs)
        assert monitor.hgetall(redis_keys.job("main", job))
        wait_until(lambda: shown(place, guarded)["keys"], "the command shows the key")
        assert [queue["model"] for queue in shown(place, guarded)["queues"]] == ["sim-model"]
        said = run(place, guarded, "status", "in.jsonl", user=MONITOR).stdout
        assert "is running: " in said
        assert guarded.denied() == []
        assert "waits behind" in run(place, guarded, "status", "in.jsonl:1999", user=MONITOR).stdout
        for command in forbidden_to_the_monitor(job):
            with pytest.raises(redis.exceptions.NoPermissionError):
                monitor.execute_command(*command)


def shown(place: Place, guarded: GuardedBroker) -> Any:
    """What `status` shows the monitor."""
    (fleet,) = json.loads(run(place, guarded, "status", "--json", user=MONITOR).stdout)
    return fleet


def forbidden_to_the_monitor(job: str) -> list[list[Any]]:
    """Commands that would show requests or answers, or change anything."""
    stream = redis_keys.job_outcomes("main", job)
    reads = [["HGETALL", QUEUE.requests], ["HMGET", QUEUE.requests, "x"], ["HGETALL", QUEUE.attempts]]
    reads += [["XRANGE", stream, "-", "+"], ["HGETALL", redis_keys.job_failure_examples("main", job)]]
    reads += [["GET", redis_keys.tickets("main", "sim-model", 9)], ["DUMP", QUEUE.requests], ["KEYS", "*"]]
    writes: list[list[Any]] = [["SET", redis_keys.worker("main", "x"), "x"], ["DEL", redis_keys.jobs("main")]]
    writes += [
        ["EVAL", "return redis.call('HGETALL', KEYS[1])", 1, QUEUE.requests],
        ["FLUSHALL"],
        ["CONFIG", "GET", "*"],
        ["LPUSH", redis_keys.tickets("main", "sim-model", 9), "x"],
        ["PUBLISH", "{keyfleet}:main:celery:x", "x"],
    ]
    return reads + writes


def test_flower_sees_workers_queues_and_events_and_reads_no_requests(
    place: Place, start_sim: StartSim, guarded: GuardedBroker
) -> None:
    key = sim_key("one", "5/1 second")
    place.write_keys(start_sim(SimConfig(keys=(key,))), (key,))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(2000)])  # more than there is time for
    start(place, guarded, "worker", "--key", "one", user=WORKER)
    flower, name = Flower(place, guarded.url(FLOWER)), f"one@{socket.gethostname()}"
    try:
        flower.wait_until_it_hears_of(name)
        start(place, guarded, "run", "in.jsonl", "--no-workers", user=PRODUCER)
        wait_until(lambda: "keyfleet.chunk" in flower.get("/api/tasks"), "Flower hears of tickets")
        flower.get("/api/workers?refresh=1")
        wait_until(lambda: name in flower.get(f"/worker/{name}"), "Flower has asked the worker")
        assert flower.get("/broker")
        wait_until(lambda: flower.overview()["keys"], "the page of keys shows the key")
        assert [queue["model"] for queue in flower.overview()["queues"]] == ["sim-model"]
        assert flower.get("/api/queues/length")
        assert guarded.denied() == []
        status, answer = flower.post("/keys/api/keys/one/disable")
        assert (status, "may not do that" in answer["error"]) == (403, True)
    finally:
        flower.end()
    with connect(guarded.url(FLOWER)) as client:
        for command in (
            ["HGETALL", QUEUE.requests],
            ["HGETALL", QUEUE.attempts],
            ["SADD", redis_keys.jobs("main"), "x"],
            ["DEL", redis_keys.hold("key:0123:disabled")],
            ["KEYS", "*"],
            ["FLUSHALL"],
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command)


def test_flower_acts_with_the_rules_of_workers(place: Place, start_sim: StartSim, guarded: GuardedBroker) -> None:
    key = sim_key("one", "5/1 second")
    place.write_keys(start_sim(SimConfig(keys=(key,))), (key,))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(2000)])  # more than there is time for
    events = "&{keyfleet}:main:celery:/0.celeryev/*"
    assert f"`keyfleet-worker` and `{events}`" in OPERATIONS.read_text(encoding="utf-8")
    guarded.admin.acl_setuser(WORKER, enabled=True, channels=[events.removeprefix("&")])
    start(place, guarded, "worker", "--key", "one", user=WORKER)
    flower = Flower(place, guarded.url(WORKER))
    try:
        flower.wait_until_it_answers()
        start(place, guarded, "run", "in.jsonl", "--no-workers", user=PRODUCER)
        wait_until(lambda: flower.overview()["keys"] and flower.overview()["jobs"], "the page shows key and job")
        (job,) = flower.overview()["jobs"]
        actions = [f"keys/one/{action}" for action in ("disable", "probe", "enable")]
        actions += [f"jobs/{job['id']}/{action}" for action in ("pause", "resume", "cancel")]
        assert [flower.post(f"/keys/api/{action}")[0] for action in actions] == [200] * len(actions)
    finally:
        flower.end()
    assert guarded.denied() == []


def test_the_producer_reaches_neither_the_states_and_limits_of_keys_nor_other_fleets(guarded: GuardedBroker) -> None:
    with connect(guarded.url(PRODUCER)) as producer:
        for command in (
            ["SET", redis_keys.hold("key:0123:disabled"), "disabled 0 by hand"],
            ["HSET", redis_keys.learned_limits("pool"), "requests:60", "1"],
            ["HSET", redis_keys.outputs(), "sim-model", "1 0"],
            ["HGETALL", redis_keys.quota_window("pool", "requests", 60)],
            ["HGETALL", QueueKeys("another", "sim-model").requests],
            ["PUBLISH", "{keyfleet}:main:celery:/0.celery.pidbox", "x"],
            ["CONFIG", "GET", "*"],
            ["FLUSHALL"],
            ["KEYS", "*"],
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                producer.execute_command(*command)
