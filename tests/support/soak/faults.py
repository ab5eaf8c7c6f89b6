"""Every fault of the soak: what begins it, and what ends it."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass

from keyfleet import redis_keys
from keyfleet.ticket_message import PRIORITIES
from support.fleet_job import FLEET, QUEUE
from support.processes import children_of, signal_all
from support.soak.fleet import SoakFleet

__all__ = ["FAULTS", "End", "Fault", "long_freeze"]

End = Callable[[], None]
"""Ends a fault."""


@dataclass(frozen=True)
class Fault:
    """`begin` starts it; it lasts a random time of `lasts_s` (s).

    Of one `kind` only one is there at a time. `apart_from` are the kinds with which it would hide what the fleet
    repairs: a worker that is lost within the seconds that the server loses can't deliver them again. `once`: it comes
    among the first, and never again.
    """

    name: str
    kind: str
    begin: Callable[[SoakFleet, random.Random], End]
    lasts_s: tuple[float, float] = (0.0, 0.0)
    apart_from: frozenset[str] = frozenset()
    once: bool = False


def nothing() -> None:
    """The end of what is over at once."""


def any_worker(fleet: SoakFleet, chance: random.Random) -> str:
    return chance.choice(sorted(fleet.job.workers))


def kill_worker(fleet: SoakFleet, chance: random.Random) -> End:
    fleet.kill_worker(any_worker(fleet, chance))
    return nothing


def kill_all_workers(fleet: SoakFleet, chance: random.Random) -> End:
    for name in fleet.job.workers:
        fleet.kill_worker(name)
    return nothing


def kill_serving_process(fleet: SoakFleet, chance: random.Random) -> End:
    """What supervises it starts it again."""
    name = any_worker(fleet, chance)
    since = fleet.calls(name)
    signal_all(children_of(fleet.job.workers[name].pid), signal.SIGKILL)
    fleet.allow_for(name, since)
    return nothing


def stop_worker(fleet: SoakFleet, chance: random.Random) -> End:
    """Stopped for longer than its lease it is cut off, and others make its calls."""
    name = any_worker(fleet, chance)
    since = fleet.calls(name)
    fleet.signal_worker(name, signal.SIGSTOP)

    def wake() -> None:
        fleet.signal_worker(name, signal.SIGCONT)
        fleet.allow_for(name, since)

    return wake


def end_worker(fleet: SoakFleet, chance: random.Random) -> End:
    fleet.end_worker(any_worker(fleet, chance))
    return nothing


def cut_link(fleet: SoakFleet, chance: random.Random) -> End:
    name = any_worker(fleet, chance)
    since = fleet.calls(name)
    fleet.links[name].freeze()

    def mend() -> None:
        fleet.links[name].thaw()
        fleet.allow_for(name, since)

    return mend


def kill_producer(fleet: SoakFleet, chance: random.Random) -> End:
    if fleet.producer is not None and fleet.producer.code is None:
        fleet.producer.signal(signal.SIGKILL)
        fleet.producer.wait()
    return nothing


def kill_server(fleet: SoakFleet, chance: random.Random) -> End:
    fleet.job.broker.kill()
    return fleet.job.broker.start


def freeze_server(fleet: SoakFleet, chance: random.Random) -> End:
    fleet.job.broker.freeze()
    return fleet.job.broker.wake


def lose_power(fleet: SoakFleet, chance: random.Random) -> End:
    """What is written from here to the end is lost."""
    mark = fleet.job.broker.written_bytes()

    def lose() -> None:
        fleet.job.broker.lose_power(mark)
        fleet.job.broker.start()

    return lose


def wipe_server(fleet: SoakFleet, chance: random.Random) -> End:
    """Outcomes that wait to be collected may be gone for good."""
    with fleet.job.broker.client() as client:
        fleet.may_repeat += fleet.uncollected(client)
        client.flushall()
    return nothing


def fill_server(fleet: SoakFleet, chance: random.Random) -> End:
    fleet.job.broker.fill()
    return fleet.job.broker.make_room


def lose_tickets(fleet: SoakFleet, chance: random.Random) -> End:
    with fleet.job.broker.client() as client:
        client.delete(*(redis_keys.tickets(FLEET, QUEUE, priority) for priority in PRIORITIES))
    return nothing


def double_tickets(fleet: SoakFleet, chance: random.Random) -> End:
    with fleet.job.broker.client() as client:
        for key in (redis_keys.tickets(FLEET, QUEUE, priority) for priority in PRIORITIES):
            if messages := client.lrange(key, 0, -1):
                client.rpush(key, *messages)
    return nothing


def provider_outage(fleet: SoakFleet, chance: random.Random) -> End:
    fleet.job.sim.set_behaviour("*", "outage")
    return lambda: fleet.job.sim.set_behaviour("*", "ok")


def revoke_key(fleet: SoakFleet, chance: random.Random) -> End:
    name = any_worker(fleet, chance)
    fleet.job.sim.set_behaviour(name, "revoked")
    return lambda: fleet.job.sim.set_behaviour(name, "ok")


SERVER = frozenset({"server"})
APART = frozenset({"worker", "memory"})

FAULTS = (
    Fault("worker killed", "worker", kill_worker, apart_from=SERVER),
    Fault("all workers killed", "worker", kill_all_workers, apart_from=SERVER),
    Fault("serving process killed", "worker", kill_serving_process, apart_from=SERVER),
    Fault("worker stopped", "worker", stop_worker, (0.5, 4.0), SERVER),
    Fault("worker ended in order", "worker", end_worker, apart_from=SERVER),
    Fault("link cut", "worker", cut_link, (0.5, 5.0), SERVER),
    Fault("producer killed", "producer", kill_producer),
    Fault("server killed", "server", kill_server, (0.0, 2.0), APART),
    Fault("server frozen", "server", freeze_server, (0.5, 4.0), APART),
    Fault("last seconds lost", "server", lose_power, (0.3, 1.5), APART),
    Fault("server wiped", "server", wipe_server, apart_from=APART | {"producer"}),
    Fault("server full", "memory", fill_server, (1.0, 4.0), SERVER | {"tickets"}),
    Fault("tickets lost", "tickets", lose_tickets, apart_from=SERVER),
    Fault("tickets doubled", "tickets", double_tickets, apart_from=SERVER | {"memory"}),
    Fault("provider outage", "provider", provider_outage, (1.0, 4.0)),
    Fault("key revoked", "provider", revoke_key, (1.0, 4.0)),
)


def long_freeze(lasts_s: float) -> Fault:
    """The server stands still for so long that whoever waits for it gives up waiting."""
    return Fault("server frozen for long", "server", freeze_server, (lasts_s, lasts_s), APART, once=True)
