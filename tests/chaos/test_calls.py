"""Calls whose caller waits, while a worker or the server is lost: each is answered once, or said to have failed."""

from __future__ import annotations

import signal
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from keyfleet import Fleet
from support.breakable_server import BreakableServer
from support.events import wait_until
from support.fixtures import StartSim
from support.fleet_case import LEASE_S
from support.fleets import CHAT, MakeFleet, SharedFleet, chat
from support.ledger_check import repeats_in
from support.place import Place, sim_key
from support.process_trees import kill_tree

CALLERS = 24


@pytest.fixture
def shared(place: Place, breakable_broker: BreakableServer, start_sim: StartSim) -> SharedFleet:
    place.settings["KEYFLEET_LEASE_S"] = str(LEASE_S)
    return SharedFleet(place, breakable_broker, start_sim, (sim_key("one", "40/second"), sim_key("two", "40/second")))


class Callers:
    """Threads that call one after the other, so that some calls are in every phase at any time."""

    def __init__(self, fleet: Fleet, calls: int) -> None:
        self._fleet = fleet
        self._pool = ThreadPoolExecutor(CALLERS)
        self._ends: list[Future[Any]] = [self._pool.submit(self._call, number) for number in range(calls)]

    def _call(self, number: int) -> str:
        answer = self._fleet.call(CHAT, chat(f"call {number}"))
        return str(answer["choices"][0]["message"]["content"])

    def wait_until_ended(self, share: float) -> None:
        wait_until(lambda: sum(end.done() for end in self._ends) >= share * len(self._ends), f"{share:.0%} have ended")

    def assert_all_answered(self) -> None:
        """Each has its own answer."""
        assert [end.result() for end in self._ends] == [f"call {number}" for number in range(len(self._ends))]
        self._pool.shutdown()


def test_calls_survive_a_server_that_is_killed_and_started_again(shared: SharedFleet, make_fleet: MakeFleet) -> None:
    shared.start_workers()
    callers = Callers(make_fleet(shared.broker.url), 200)
    for share in (0.2, 0.5):
        callers.wait_until_ended(share)
        shared.broker.kill()
        shared.broker.start()
    callers.assert_all_answered()
    assert repeats_in(shared.sim.stats()) == 0


def test_calls_survive_a_server_that_loses_everything(
    shared: SharedFleet, breakable_broker: BreakableServer, make_fleet: MakeFleet
) -> None:
    shared.start_workers()
    callers = Callers(make_fleet(shared.broker.url), 150)
    callers.wait_until_ended(0.3)
    with breakable_broker.client() as client:
        client.flushall()
    callers.assert_all_answered()
    assert repeats_in(shared.sim.stats()) <= CALLERS  # what was in flight in that moment


def test_calls_of_a_worker_that_is_killed_go_to_others(shared: SharedFleet, make_fleet: MakeFleet) -> None:
    workers = [shared.start_worker(key.name) for key in shared.keys]
    callers = Callers(make_fleet(shared.broker.url), 150)
    callers.wait_until_ended(0.3)
    kill_tree(workers[0].pid)
    callers.assert_all_answered()
    assert repeats_in(shared.sim.stats()) <= CALLERS


def test_a_process_that_stood_still_for_longer_than_it_may_be_silent_has_its_calls_answered(
    shared: SharedFleet, place: Place
) -> None:
    shared.start_workers()
    program = (
        "import keyfleet\n"
        f"with keyfleet.Fleet({shared.broker.url!r}) as fleet:\n"
        f"    print(fleet.call({CHAT!r}, {chat('hello')!r})['choices'][0]['message']['content'], flush=True)\n"
    )
    shared.set_keys("disable")
    caller = place.start_program(program)
    shared.wait_until_ready(urgent=1)
    caller.signal(signal.SIGSTOP)
    shared.age_callers()
    shared.set_keys("enable")
    shared.wait_until_ready()
    caller.signal(signal.SIGCONT)
    assert caller.wait() == 0, caller.stderr
    assert caller.stdout == "hello\n"
    assert shared.calls() == 1
