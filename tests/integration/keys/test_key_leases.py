"""Workers that were started without a key share out the keys, keep them, and take others when they must."""

from __future__ import annotations

import signal
from collections import Counter

import redis

from keyfleet import redis_keys
from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimConfig
from support import Place, ServerProcess, bare_line, lines_answered, sim_key, wait_until, write_lines
from support.fixtures import StartSim
from support.process_trees import kill_tree, tree_of
from support.processes import children_of, signal_all

KEYS = (sim_key("a"), sim_key("b"))
LINES = 20


def holders(client: redis.Redis, *names: str) -> list[int]:
    """How many workers hold each of the keys."""
    return [client.zcard(redis_keys.holders("main", name)) for name in names]  # type: ignore[misc]


def served(client: redis.Redis) -> list[str]:
    """The keys that workers serve."""
    return sorted(worker.key_name for worker in read_fleet_status(client, "main").workers)


def test_ten_workers_take_ten_keys_and_the_eleventh_takes_over_from_one_that_leaves(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    keys = [sim_key(f"key-{number}") for number in range(10)]
    names = [key.name for key in keys]
    place.write_keys(start_sim(SimConfig(keys=tuple(keys))), keys)
    workers = [place.start("worker", "--broker", broker.url, "--log-level", "info") for _ in keys]
    with broker.client() as client:
        wait_until(lambda: holders(client, *names) == [1] * 10, "each key has one worker")
        last = place.start("worker", "--broker", broker.url)
        last.wait_until_said("standing by: no key is free")
        assert holders(client, *names) == [1] * 10
        (leaving,) = (worker for worker in workers if worker.said("leased key key-3"))
        leaving.signal(signal.SIGTERM)
        assert leaving.wait() == 0, leaving.stderr
        wait_until(lambda: holders(client, *names) == [1] * 10, "its key is leased again")
        wait_until(lambda: children_of(last.pid), "the one that stood by serves now")


def test_a_worker_that_was_killed_frees_its_key_within_a_lease(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    place.settings["KEYFLEET_LEASE_S"] = "2"
    place.write_keys(start_sim(SimConfig(keys=KEYS)), KEYS[:1])
    one = place.start("worker", "--broker", broker.url)
    with broker.client() as client:
        wait_until(lambda: holders(client, "a") == [1], "the key is leased")
        other = place.start("worker", "--broker", broker.url)
        other.wait_until_said("standing by")
        kill_tree(one.pid)
        wait_until(lambda: children_of(other.pid), "the other serves it", timeout_s=10)
        assert holders(client, "a") == [1]


def test_a_worker_that_slept_longer_than_its_lease_leaves_its_key_to_whoever_took_it(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    place.settings["KEYFLEET_LEASE_S"] = "2"
    place.write_keys(start_sim(SimConfig(keys=KEYS)), KEYS[:1])
    sleeper = place.start("worker", "--broker", broker.url)
    with broker.client() as client:
        wait_until(lambda: served(client) == ["a"], "the key is served")
        (before,) = children_of(sleeper.pid)
        asleep = tree_of(sleeper.pid)
        signal_all(asleep, signal.SIGSTOP)
        other = place.start("worker", "--broker", broker.url)
        wait_until(lambda: children_of(other.pid), "another serves the key")
        signal_all(asleep, signal.SIGCONT)
        sleeper.wait_until_said("the lease of key a went to others")
        sleeper.wait_until_said("standing by")
        wait_until(lambda: before not in children_of(sleeper.pid), "its process has left")
        assert holders(client, "a") == [1]
        other.signal(signal.SIGTERM)
        assert other.wait() == 0
        wait_until(lambda: children_of(sleeper.pid), "it serves again once the key is free")


def test_hosts_that_share_the_keys_out_serve_all_of_them_and_take_over_from_one_that_died(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    place.settings["KEYFLEET_LEASE_S"] = "2"
    keys = [sim_key(name) for name in "abcd"]
    place.write_keys(start_sim(SimConfig(keys=tuple(keys))), keys)
    one = place.start("worker", "--share", "--broker", broker.url)
    with broker.client() as client:
        wait_until(lambda: len(children_of(one.pid)) == 4, "one host serves all keys")
        other = place.start("worker", "--share", "--broker", broker.url)
        wait_until(lambda: [len(children_of(host.pid)) for host in (one, other)] == [2, 2], "each serves its half")
        assert holders(client, *"abcd") == [1] * 4
        write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
        assert place.run("run", "in.jsonl", "--broker", broker.url, "--no-workers").code == 0
        kill_tree(other.pid)
        wait_until(lambda: len(children_of(one.pid)) == 4, "the one that is left serves all again", timeout_s=20)
        wait_until(lambda: served(client) == list("abcd"), "they say so")


def test_a_worker_whose_key_is_revoked_takes_another_and_the_job_ends(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = start_sim(SimConfig(keys=KEYS))
    sim.set_behaviour("a", "revoked")
    place.write_keys(sim, KEYS)
    worker = place.start("worker", "--broker", broker.url)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    done = place.run("run", "in.jsonl", "--broker", broker.url, "--no-workers")
    assert done.code == 0, done.stderr
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
    assert worker.said("key a can't be used for now; it is tried again in 30 s")
    with broker.client() as client:
        assert holders(client, "a", "b") == [0, 1]


def test_workers_that_were_told_their_keys_are_seen_by_those_that_lease(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    place.write_keys(start_sim(SimConfig(keys=KEYS)), KEYS)
    place.start("worker", "--key", "a", "--broker", broker.url)
    with broker.client() as client:
        wait_until(lambda: holders(client, "a") == [1], "the named key is held")
        place.start("worker", "--broker", broker.url)
        wait_until(lambda: holders(client, "a", "b") == [1, 1], "the other is leased")
        everything = place.start("worker", "--all", "--broker", broker.url)
        wait_until(lambda: holders(client, "a", "b") == [2, 2], "all of them are held once more")
        everything.signal(signal.SIGTERM)
        assert everything.wait() == 0
        assert holders(client, "a", "b") == [1, 1]
