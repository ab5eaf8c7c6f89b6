"""`keyfleet keys`, typed while keys are at work and where they don't work."""

from __future__ import annotations

import json
from typing import Any

from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimConfig, SimKey, SimLatency, parse_limits
from keyfleet_workers.holds import Holds, KeyState
from support import Command, Place, ServerProcess, bare_line, sim_key, wait_until, write_lines
from support.fixtures import StartSim
from support.ledger_check import assert_promises_kept

A, B = sim_key("a", "20/1 second"), sim_key("b", "20/1 second")
LINES = 150


def listed(place: Place, *options: str) -> dict[str, dict[str, Any]]:
    """What `keyfleet keys --json` says, by key."""
    command = place.run("keys", "--json", *options)
    assert command.code == 0, command.stderr
    return {key["name"]: key for key in json.loads(command.stdout)}


def said(command: Command) -> list[str]:
    """The lines that it said."""
    return command.stderr.strip().splitlines()


def test_a_key_that_is_disabled_rests_until_it_is_enabled_while_a_job_goes_on(
    place: Place, start_sim: StartSim
) -> None:
    keys = tuple(
        SimKey(name=name, api_key=f"sk-of-{name}", limits=parse_limits(requests=["10/1 second", "5000/60 second"]))
        for name in ("a", "b")
    )
    sim = start_sim(SimConfig(keys=keys, latency=SimLatency(latency_ms=50)))
    place.write_keys(sim, keys)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    output = place.directory / "in_results.jsonl"

    def called(name: str) -> int:
        count: int = sim.stats()["keys"].get(name, {"requests": 0})["requests"]
        return count

    command = place.start("run", "in.jsonl")
    wait_until(lambda: called("a") > 5, "the key is used")
    assert place.run("keys", "disable", "a", "--reason", "it is reserved").code == 0
    of_a, of_b = called("a"), called("b")
    found = listed(place)
    assert {name: len(key["workers"]) for name, key in found.items()} == {"a": 1, "b": 1}
    assert {name: (key["state"], key["reason"]) for name, key in found.items()} == {
        "a": ("disabled", "it is reserved"),
        "b": ("ready", ""),
    }
    for limit in found["a"]["limits"]:
        assert limit["unit"] == "requests"
        assert limit["left"] == limit["amount"] - limit["used"]
    of_a_minute = found["a"]["limits"][1]
    assert (of_a_minute["window_s"], of_a_minute["amount"]) == (60, 5000)
    assert 5 < of_a_minute["used"] <= of_a + 10
    wait_until(lambda: called("b") >= of_b + 20, "the other key goes on")
    assert called("a") <= of_a + 10, "calls were begun long after it was disabled"
    before = called("a")
    assert place.run("keys", "enable", "a").code == 0
    wait_until(lambda: called("a") > before, "the key is used again")
    assert command.wait() == 0, command.stderr
    assert_promises_kept(sim, output, LINES)


def test_a_probe_says_what_came_back_and_ends_what_no_longer_holds(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = start_sim(SimConfig(keys=(A,)))
    place.write_keys(sim, (A,))
    place.settings["KEYFLEET_BROKER_URL"] = broker.url
    sim.set_behaviour("a", "revoked")
    probed = place.run("keys", "probe", "a")
    assert (probed.code, said(probed)) == (1, [said(probed)[0]])
    assert probed.said("a: is refused (invalid_api_key:")
    assert listed(place)["a"]["state"] == "revoked"
    sim.set_behaviour("a", "ok")
    probed = place.run("keys", "probe", "a")
    assert (probed.code, said(probed)) == (0, ["a: works"])
    assert listed(place)["a"]["state"] == "ready"


def test_of_credit_only_a_call_that_is_paid_tells(place: Place, start_sim: StartSim, broker: ServerProcess) -> None:
    sim = start_sim(SimConfig(keys=(A,)))
    place.write_keys(sim, (A,))
    place.settings["KEYFLEET_BROKER_URL"] = broker.url
    sim.set_behaviour("a", "out_of_credit")
    assert place.run("keys", "probe", "a").code == 0, "a free call can't tell"
    asked = place.run("keys", "probe", "a", "--model", "sim-model")
    assert (asked.code, asked.said("is out of credit (insufficient_quota"), asked.said("it stays")) == (1, True, False)
    assert listed(place)["a"]["state"] == "out_of_credit"
    sim.set_behaviour("a", "ok")
    probed = place.run("keys", "probe", "a")
    assert probed.code == 1
    assert probed.said("a: works; it stays out of credit: only a call that is paid tells of credit")
    probed = place.run("keys", "probe", "a", "--model", "sim-model")
    assert (probed.code, said(probed)) == (0, ["a: works"])


def test_a_key_that_was_refused_again_after_a_free_call_needs_one_that_is_paid(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    sim = start_sim(SimConfig(keys=(A,), models=("sim-model",)))
    place.write_keys(sim, (A,))
    place.settings["KEYFLEET_BROKER_URL"] = broker.url
    sim.set_behaviour("a", "revoked")
    assert place.run("keys", "probe", "a").code == 1
    with broker.client() as client:
        (name,) = client.scan_iter("{keyfleet}:hold:key:*:refused")
        holds, scope = Holds(client), name.decode().removeprefix("{keyfleet}:hold:")
        holds.lift_after_probe(*holds.read([scope]))
        assert holds.set(scope, KeyState.REVOKED, "again", None)
    sim.set_behaviour("a", "ok")
    probed = place.run("keys", "probe", "a")
    assert (probed.code, probed.said("a: works; it stays revoked: it was refused again")) == (1, True)
    probed = place.run("keys", "probe", "a", "--model", "no-such-model")
    assert (probed.code, probed.said("a: is answered, though no-such-model can't be called so")) == (1, True)
    probed = place.run("keys", "probe", "a", "--model", "sim-model")
    assert (probed.code, said(probed)) == (0, ["a: works"])
    assert listed(place)["a"]["state"] == "ready"


def test_a_worker_that_left_its_key_comes_back_as_soon_as_it_is_enabled(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    place.write_keys(start_sim(SimConfig(keys=(A,))), (A,))
    place.settings["KEYFLEET_BROKER_URL"] = broker.url
    assert place.run("keys", "disable", "a").code == 0
    worker = place.start("worker")
    worker.wait_until_said("standing by: no key is free (a can't be used for now)")
    assert place.run("keys", "enable", "a").code == 0
    with broker.client() as client:
        wait_until(
            lambda: "ready" in [one.key.state for one in read_fleet_status(client, "main").workers],
            "the key is served again",
            timeout_s=20,  # it would try again by itself after 30 s
        )


def test_a_check_tries_each_key_and_needs_no_broker(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=(A, B)))
    path = place.write_keys(sim, (A, B))
    checked = place.run("keys", "check")
    assert (checked.code, checked.stdout.splitlines()[-2:]) == (0, ["a: works", "b: works"])
    assert checked.stdout.startswith("keys: 2 from ./keys.yaml\nwarning: key a (line 2): the secret of `api_key`")
    sim.set_behaviour("b", "revoked")
    checked = place.run("keys", "check", "--json")
    assert checked.code == 1
    assert [key["works"] for key in json.loads(checked.stdout)["keys"]] == [True, False]
    assert place.run("keys", "check", "--offline").code == 0
    path.write_text(path.read_text().replace(B.api_key, "${NOT_HERE}"))
    checked = place.run("keys", "check", "--offline")
    assert checked.code == 1
    assert "b: not set here: NOT_HERE" in checked.stdout
    path.write_text("keys:\n  - name: not a name\n")
    checked = place.run("keys", "check")
    assert checked.code == 2
    assert checked.said(f"{path}, line 2")
    assert not place.state_dir.exists()


def test_keys_whose_secrets_are_not_here_are_listed_and_can_not_be_disabled_from_here(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    path = place.write_keys(start_sim(SimConfig(keys=(A,))), (A,))
    path.write_text(path.read_text().replace(A.api_key, "${NOT_HERE}"))
    place.settings["KEYFLEET_BROKER_URL"] = broker.url
    key = listed(place)["a"]
    assert (key["state"], key["problem"]) == ("unknown", "not set here: NOT_HERE")
    refused = place.run("keys", "disable", "a")
    assert refused.code == 2
    assert refused.said("key a: not set here: NOT_HERE; do this where its secret is set")
    refused = place.run("keys", "disable", "sk-a-secret-in-the-wrong-place")
    assert (refused.code, said(refused)) == (2, ["keyfleet: no key is named so; configured are a"])
