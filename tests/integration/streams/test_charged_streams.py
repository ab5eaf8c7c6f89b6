"""What streams do to quotas and keys: usage settles a reservation, and a key that is refused loses no stream."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from keyfleet.running.fleet_status import read_fleet_status
from keyfleet.sim import SimAnswers, SimConfig, SimLatency
from support.events import wait_until
from support.fixtures import StartSim
from support.fleets import CHAT, FLEET, MakeFleet, SharedFleet, chat
from support.place import Place, sim_key
from support.server import ServerProcess

BYTES_PER_TOKEN = {"refund": 4.0, "surcharge": 0.02}
"""How the provider counts: about as we do, or so that a prompt of five bytes costs 250 tokens."""

RESERVED_TOKENS = 100


def used(server: ServerProcess, unit: str) -> int:
    """What the worker says is used of its one limit of `unit`; it says so a moment after it has first drawn on it."""
    with server.client() as client:
        (worker,) = read_fleet_status(client, FLEET).workers
        return sum(limit.used for limit in worker.limits if limit.unit == unit)


@pytest.mark.parametrize("how", ["refund", "surcharge"])
def test_usage_settles_what_a_stream_has_reserved(
    place: Place, broker: ServerProcess, start_sim: StartSim, make_fleet: MakeFleet, how: str
) -> None:
    answers = SimAnswers(completion_tokens=3, bytes_per_token=BYTES_PER_TOKEN[how])
    shared = SharedFleet(place, broker, start_sim, (sim_key("one"),), answers=answers)
    place.write_keys(shared.sim, shared.keys, requests=["500/minute"], tokens=["5000/minute"], refunds=True)
    shared.start_workers()
    fleet = make_fleet(broker.url)
    asked = chat("hello", max_tokens=RESERVED_TOKENS, stream_options={"include_usage": True})
    (told,) = (chunk["usage"]["total_tokens"] for chunk in fleet.stream(CHAT, asked) if chunk["usage"])
    assert (told < RESERVED_TOKENS) == (how == "refund")
    wait_until(lambda: used(broker, "tokens") == told, f"{told} tokens are charged")
    list(fleet.stream(CHAT, chat("hello", max_tokens=RESERVED_TOKENS)))  # its caller doesn't ask for the usage
    wait_until(lambda: used(broker, "tokens") == 2 * told, "as many are charged again")
    assert used(broker, "requests") == 2


def test_a_stream_whose_key_is_revoked_at_its_start_goes_over_to_another(
    place: Place, broker: ServerProcess, start_sim: StartSim, make_fleet: MakeFleet
) -> None:
    place.settings["KEYFLEET_NO_KEY_GRACE"] = "60s"
    shared = SharedFleet(place, broker, start_sim, (sim_key("one"), sim_key("two")))
    shared.start_worker("one")
    shared.sim.set_behaviour("one", "revoked")
    fleet = make_fleet(broker.url)
    with ThreadPoolExecutor(1) as pool:
        chunks = pool.submit(lambda: list(fleet.stream(CHAT, chat("hello"))))
        wait_until(lambda: shared.sim.stats()["by_status"] == {"401": 1}, "the key is refused")
        shared.place.start("worker", "--key", "two", "--broker", broker.url)
        texts = [choice["delta"].get("content") or "" for chunk in chunks.result() for choice in chunk["choices"]]
    assert "".join(texts) == "hello"
    assert shared.sim.stats()["keys"]["two"]["by_status"] == {"200": 1}


def test_a_long_stream_on_a_key_of_unknown_limits_holds_no_other_call_up(
    place: Place, start_sim: StartSim, make_fleet: MakeFleet
) -> None:
    latency = SimLatency(first_token_ms=20, token_interval_ms=50)
    keys = (sim_key("one"),)
    sim = start_sim(SimConfig(keys=keys, answers=SimAnswers(answer_bytes=8000), latency=latency))
    fleet = make_fleet(keys=place.write_keys(sim, keys))
    first = fleet.stream(CHAT, chat("first"))
    next(first)
    assert next(iter(fleet.stream(CHAT, chat("second"))))["choices"]
    assert fleet.call(CHAT, chat("third"))["model"] == chat("")["model"]
    assert sim.stats()["in_flight"] >= 1
    assert next(first)["choices"]
