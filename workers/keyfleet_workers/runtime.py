"""A worker's parts, put together for one key."""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import redis
from celery import Celery

from keyfleet.broker import ServerWatch, check_server, connect, syncs_always
from keyfleet.clock import elapsed_s
from keyfleet.config import Settings
from keyfleet.ledger import Transitions, model_of
from keyfleet.ticket_message import REQUESTS_PER_TICKET
from keyfleet.tickets import TicketOffice
from keyfleet_workers.asked_probe import AskedProbe
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.consumption import Consumption
from keyfleet_workers.dispatch.calls import CallRunner
from keyfleet_workers.dispatch.charges import Charges
from keyfleet_workers.dispatch.chunk import ChunkRunner
from keyfleet_workers.dispatch.chunk_report import ChunkEnd
from keyfleet_workers.dispatch.delivery import Delivery
from keyfleet_workers.dispatch.held import HeldRequests
from keyfleet_workers.dispatch.key_health import KeyHealth
from keyfleet_workers.dispatch.piece_sender import PieceSender
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.standing import Standing
from keyfleet_workers.dispatch.streamed_calls import StreamedCalls
from keyfleet_workers.dispatch.taker import Taker
from keyfleet_workers.dispatch.taking import ChunkParts
from keyfleet_workers.dispatch.waits import Waits
from keyfleet_workers.holds import Holds, KeyScopes, KeyState
from keyfleet_workers.housekeeping import Housekeeping
from keyfleet_workers.job_names import JobNames
from keyfleet_workers.key_watch import KeyWatch
from keyfleet_workers.lease_keeper import LeaseKeeper
from keyfleet_workers.limit_learning import LimitLearner
from keyfleet_workers.limiter import ExactRedisStorage
from keyfleet_workers.limiter.ramps import Ramps
from keyfleet_workers.metrics import NO_METER, GuardedMeter, Meter
from keyfleet_workers.model_lists import ModelLists
from keyfleet_workers.notices import Notices
from keyfleet_workers.output_means import OutputMeans
from keyfleet_workers.probing import KeyProbe, ask_freely
from keyfleet_workers.provider import ProviderClient
from keyfleet_workers.provider.client import ReadOnceEnvironment
from keyfleet_workers.standing_meter import StandingMeter
from keyfleet_workers.sweeping import sweep
from keyfleet_workers.worker_status import WorkerStatus

__all__ = ["MAX_CONCURRENCY", "WorkerRuntime"]

logger = logging.getLogger(__name__)

INITIAL_CONCURRENCY = 32
"""Calls under way at first: measured, 32 cost less processor time per call than 64, and 16 starve."""

MAX_CONCURRENCY = 256
"""Calls under way that the slots may grow to where nobody set `--concurrency`."""

LOOK_S = 0.05
"""Interval of looking whether the calls under way have ended (s)."""


class WorkerRuntime:
    """Everything that serves tickets with one key. Opens connections and threads only in `start`."""

    def __init__(
        self,
        app: Celery,
        settings: Settings,
        binding: KeyBinding,
        broker_url: str,
        *,
        on_set_aside: Callable[[], None] | None = None,
        meter: Meter = NO_METER,
    ) -> None:
        """`on_set_aside` is called once the key can't be used for now; None where the worker waits with its key."""
        self._on_set_aside = on_set_aside
        self._meter = GuardedMeter(meter)
        self._settings = settings
        self._binding = binding
        self._broker_url = broker_url
        self._host = socket.gethostname()
        self.worker_id = f"{binding.name}:{self._host}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.scopes = KeyScopes(binding.fingerprint, binding.group, self._host)
        self._lease_ms = round(settings.lease_s * 1000)
        self.consumption = Consumption()
        self._tickets = TicketOffice(app)
        self._held = HeldRequests(settings.lease_s)
        self._slots = CallSlots(INITIAL_CONCURRENCY, self.most_calls)
        self._waits = Waits()
        self._stopping = threading.Event()
        self._is_started = False

    @property
    def most_calls(self) -> int:
        """Most calls that may be under way: the option or variable before the keys file."""
        return self._settings.concurrency or self._binding.config.concurrency or MAX_CONCURRENCY

    def start(self) -> None:
        """Connect and begin. Raises BrokerUnavailable."""
        fleet = self._settings.fleet
        watch = ServerWatch(refuse_first=True)
        client = connect(self._broker_url, watch=watch)
        check_server(client, self._broker_url)
        storage = ExactRedisStorage("keyfleet+unix://", connection_pool=client.connection_pool)
        self._transitions = transitions = Transitions(client, fleet, lease_ms=self._lease_ms)
        self._may_lose = not syncs_always(client)
        self._delivery = Delivery(
            client,
            transitions,
            storage,
            watch,
            on_ready_again=self._issue,
            held=self._held,
            keep_recent=self._may_lose,
        )
        self._leases = LeaseKeeper(transitions, self._held, self._settings.lease_s)
        self._holds, self._storage = Holds(client), storage
        self._learner, self._outputs = LimitLearner(client, self._binding), OutputMeans(client)
        self._pieces = PieceSender(client, transitions, self._stopping)
        self._calls = self._make_calls(client, storage, transitions)
        self._standing = Standing(self._calls.stopping)
        self._chunks = self._make_chunks(client, watch)
        self._delivery.start()
        self._leases.start()
        self._make_housekeeping(client, watch, transitions).start()
        self._pieces.start()
        Notices(
            *(client, fleet),
            hurry=self._chunks.hurry,
            waiting=self._waits.current,
            stop_call=self._calls.in_flight.stop,
            stopping=self._stopping,
        ).start()
        self._is_started = True
        self._meter.began(self.worker_id)

    def _make_housekeeping(self, client: redis.Redis, watch: ServerWatch, transitions: Transitions) -> Housekeeping:
        fleet = self._settings.fleet
        probe = KeyProbe(self._provider, self._binding, self._storage, self._served_models)
        resume_all = self.consumption.resume_all
        key_watch = KeyWatch(self._holds, self.scopes, probe.ask, on_free=resume_all, on_set_aside=self._on_set_aside)
        free_probe = partial(ask_freely, self._provider, self._binding)
        asked_probe = AskedProbe(client, fleet, self._binding.name, self.scopes, free_probe)
        return Housekeeping(
            client=client,
            watch=watch,
            fleet=fleet,
            worker_id=self.worker_id,
            binding=self._binding,
            transitions=transitions,
            consumption=self.consumption,
            delivery=self._delivery,
            tickets=self._tickets,
            status=WorkerStatus(
                client=client,
                fleet=fleet,
                worker_id=self.worker_id,
                host=self._host,
                binding=self._binding,
                storage=self._storage,
                calls=self._calls,
                slots=self._slots,
                waits=self._waits,
                key_watch=key_watch,
                probe=asked_probe,
            ),
            asked_probe=asked_probe,
            key_watch=key_watch,
            learner=self._learner,
            outputs=self._outputs,
            models=ModelLists(
                client, fleet, self._binding, self._provider, lambda: key_watch.state[0] is not KeyState.DISABLED
            ),
            sweep=partial(sweep, client, fleet, round(self._settings.outcome_ttl_s * 1000)),
            stopping=self._stopping,
            may_lose=self._may_lose,
            meter=self._meter,
            note_standing=StandingMeter(self._meter, self._slots, self._held, self._waits).note,
        )

    def _make_calls(self, client: redis.Redis, storage: ExactRedisStorage, transitions: Transitions) -> CallRunner:
        binding = self._binding
        self._provider = ProviderClient(
            binding,
            connect_timeout_s=self._settings.connect_timeout_s,
            environment=ReadOnceEnvironment.for_url(binding.base_url, os.environ),
        )
        health = KeyHealth(
            key_name=binding.name,
            scopes=self.scopes,
            holds=self._holds,
            ramps=Ramps(client),
            learner=self._learner,
            transitions=transitions,
        )
        return CallRunner(
            binding=binding,
            client=self._provider,
            delivery=self._delivery,
            held=self._held,
            slots=self._slots,
            charges=Charges(binding, storage, self._delivery),
            health=health,
            learner=self._learner,
            outputs=self._outputs,
            streamed=StreamedCalls(binding, self._provider, self._pieces),
            meter=self._meter,
        )

    def _served_models(self) -> list[str]:
        return [model_of(queue) for queue in sorted(self.consumption.served())]

    def _make_chunks(self, client: redis.Redis, watch: ServerWatch) -> ChunkRunner:
        taker = Taker(
            client,
            self._settings.fleet,
            worker_id=self.worker_id,
            key_name=self._binding.name,
            scopes=self.scopes,
            lease_ms=self._lease_ms,
        )
        parts = ChunkParts(
            binding=self._binding,
            taker=taker,
            calls=self._calls,
            slots=self._slots,
            held=self._held,
            delivery=self._delivery,
            control=self.consumption,
            waits=self._waits,
            standing=self._standing,
            executor=ThreadPoolExecutor(self.most_calls, thread_name_prefix="keyfleet-call"),
            put_back=self._issue,
            may_take=lambda: watch.is_settled,
            job_name=JobNames(client, self._settings.fleet).name_of,
            meter=self._meter,
        )
        return ChunkRunner(parts)

    def note_refused(self, queue: str = "") -> None:
        """A ticket was no ticket, or stood where this key has no business."""
        self._calls.count("refused")
        self._meter.ticket(queue, "refused")

    def run_chunk(self, queue: str, count: int, tell: Callable[[object], None]) -> ChunkEnd:
        """Serve one ticket, and `tell` what it is. One that stands where this key has no business is refused."""
        if not self._binding.serves(model_of(queue)):
            self.note_refused(queue)
            return ChunkEnd(instead="refused")
        end = self._chunks.run(queue, count, tell)
        self._meter.ticket(queue, "served" if end.ends else end.instead.replace(" ", "_"))
        return end

    def _issue(self, queue: str, count: int) -> None:
        """Put tickets for `count` requests into a queue; one that can't be sent is replaced by the reaper.

        Each is a full one, so that whoever counts tickets knows how many requests they speak for.
        """
        tickets = -(-count // REQUESTS_PER_TICKET)
        self._meter.ticket(queue, "issued", tickets)
        try:
            self._tickets.issue_for(queue, tickets * REQUESTS_PER_TICKET)
        except Exception as error:
            logger.info("a ticket could not be sent (%s)", type(error).__name__)

    def stop(self, deadline_s: float) -> bool:
        """Take nothing more, hand back what is unsent, finish the calls under way; False if some are left over."""
        if not self._is_started:
            return True
        self._meter.ends()
        self._calls.stopping.set()
        self._standing.wake_all()
        self.consumption.stop()
        ends_s = elapsed_s() + deadline_s
        pause = threading.Event()
        while self._slots.used and elapsed_s() < ends_s:  # a call holds its slot even where its lease has passed on
            pause.wait(LOOK_S)
        self._forgive_held()
        delivered = self._delivery.stop(max(1.0, ends_s - elapsed_s()))
        self._stopping.set()
        self._leases.stop()
        self._tickets.close()
        return delivered and not self._slots.used

    def _forgive_held(self) -> None:
        """What is still under way is left to its lease; that its worker is gone then is not its fault."""
        try:
            for queue, taken in self._held.by_queue().items():
                self._transitions.forgive(queue, taken)
        except redis.RedisError as error:
            logger.info("the broker doesn't answer at the end (%s)", type(error).__name__)
