"""The ledger as a state machine: whatever happens in whatever order, each request ends in exactly one outcome."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from keyfleet import redis_keys
from keyfleet.contract import AttemptError, Outcome, Request
from keyfleet.ledger import Finish, JobLedger, JobOptions, Retry, Taken, Transitions, Withdrawn
from keyfleet.ledger.codec import request_key
from keyfleet.redis_keys import QueueKeys
from keyfleet.ticket_message import BULK, REQUESTS_PER_TICKET
from keyfleet_workers.binding import Quota
from keyfleet_workers.dispatch import taker as taker_module
from keyfleet_workers.dispatch.taker import Taker
from keyfleet_workers.holds import KeyScopes
from keyfleet_workers.limiter import QuotaLimit
from support.ledger_model import Entry, LedgerModel

if TYPE_CHECKING:
    from support.stand_in import StandIn

FLEET, QUEUE = "fleet", "model"
JOBS = ("a", "b")
WORKERS = (0, 1, 2)
LEASE_MS = 30_000
SCOPES = KeyScopes("fingerprint", None, "host")
WINDOW_MS = 1000
LIMITS = (
    QuotaLimit("quota:requests", "requests", 6, WINDOW_MS, 100),
    QuotaLimit("quota:tokens", "tokens", 100, WINDOW_MS, 100),
)
ERROR = AttemptError(500, "http_500", "made up")


def outcome(key: str, ok: bool) -> Outcome:
    errors = () if ok else (ERROR,)
    return Outcome(id=key, ok=ok, status=200 if ok else 500, body=b"{}" if ok else None, attempts=1, errors=errors)


class LedgerMachine(RuleBasedStateMachine):
    """Producers, three workers and a reaper, in any order; the tickets get lost and doubled."""

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__()
        self.clock = stand_in.clock
        self.client = stand_in.client()
        options = JobOptions()
        self.jobs = {job: JobLedger(self.client, FLEET, job, options, declare_flags=False) for job in JOBS}
        self.transitions = Transitions(self.client, FLEET, lease_ms=LEASE_MS, declare_flags=False)
        self.quota = Quota("quota", LIMITS)
        self.takers = [
            Taker(
                self.client,
                FLEET,
                worker_id=f"w{n}",
                key_name="one",
                scopes=SCOPES,
                lease_ms=LEASE_MS,
                declare_flags=False,
            )
            for n in WORKERS
        ]
        self.keys = QueueKeys(FLEET, QUEUE)
        self.model = LedgerModel(stand_in.clock)
        self.entries = self.model.entries
        self.held: list[Taken] = []  # what workers believe to hold, also when their leases have passed on
        self.grants: list[tuple[int, int]] = []

    # What happens

    @initialize()
    def open_jobs(self) -> None:
        for job in self.jobs.values():
            job.open()

    @rule(
        job=st.sampled_from(JOBS),
        costs=st.lists(st.integers(1, 100), min_size=1, max_size=6),
        urgent=st.booleans(),
        with_ticket=st.booleans(),
    )
    def accept(self, job: str, costs: list[int], urgent: bool, with_ticket: bool) -> None:
        first = len(self.entries)
        new = [Request(str(first + n), "/v1/x", "m", b"{}", cost, {}, urgent) for n, cost in enumerate(costs)]
        assert self.jobs[job].accept(QUEUE, new) == [True] * len(new)
        for request in new:
            key = request_key(job, request.id)
            self.entries[key] = Entry(key, int(request.id), urgent, request.cost_tokens)
        if with_ticket:
            self.push_tickets(1)

    @precondition(lambda self: self.model.open_entries())
    @rule(pick=st.integers(0))
    def accept_again(self, pick: int) -> None:
        entry = self.pick(self.model.open_entries(), pick)
        job, number = entry.key.split(":")
        assert self.jobs[job].accept(QUEUE, [Request(number, "/v1/x", "m", b"{}", 99)]) == [False]

    @rule(worker=st.sampled_from(WORKERS), most=st.integers(1, 8))
    def take(self, worker: int, most: int) -> None:
        due = self.model.in_state("ready")
        result = self.takers[worker].take(QUEUE, self.quota, most)
        assert [taken.key for taken in result.taken] == [entry.key for entry in due[: len(result.taken)]]
        assert result.ready_left == len(due) - len(result.taken)
        assert len(result.taken) <= most
        assert not result.impossible
        for taken, entry in zip(result.taken, due, strict=False):
            assert (taken.cost_tokens, len(taken.attempts)) == (entry.cost, entry.attempts)
            entry.state, entry.token, entry.until_ms = "running", taken.token, self.clock.now_ms + LEASE_MS
            self.grants.append((result.grant.granted_ms, entry.cost))
        self.held += result.taken
        if result.ready_left and len(result.taken) < most:
            assert result.wait_ms > 0

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0), twice=st.booleans())
    def succeed(self, pick: int, twice: bool) -> None:
        taken = self.pick(self.held, pick)
        self.finish(taken.key, "", True, 1 if self.entries[taken.key].state != "done" else 0)
        if twice:
            self.finish(taken.key, "", True, 0)
            self.held.remove(taken)

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0))
    def fail(self, pick: int) -> None:
        taken = self.pick(self.held, pick)
        self.finish(
            taken.key,
            taken.token,
            False,
            1 if self.model.holds(taken) else (0 if self.entries[taken.key].state == "done" else -1),
        )

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0))
    def hand_back(self, pick: int) -> None:
        taken = self.pick(self.held, pick)
        stands = self.model.holds(taken)
        assert self.transitions.hand_back(QUEUE, [(taken.key, taken.token)]) == int(stands)
        if stands:
            self.entries[taken.key].release("ready")
            self.entries[taken.key].expiries = 0

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0), delay_ms=st.integers(0, 5000))
    def retry(self, pick: int, delay_ms: int) -> None:
        taken = self.pick(self.held, pick)
        stands = self.model.holds(taken)
        attempts = (*taken.attempts, ERROR)
        assert self.transitions.retry(QUEUE, [Retry(taken.key, taken.token, delay_ms, attempts)]) == int(stands)
        if stands:
            self.entries[taken.key].release("delayed")
            entry = self.entries[taken.key]
            entry.due_ms, entry.attempts, entry.expiries = self.clock.now_ms + delay_ms, len(attempts), 0

    @precondition(lambda self: self.held)
    @rule(pick=st.integers(0))
    def renew(self, pick: int) -> None:
        taken = self.pick(self.held, pick)
        gone_or_known = -1 if self.entries[taken.key].state == "done" else 0
        expected = 1 if self.model.holds(taken) else gone_or_known
        assert self.transitions.renew(QUEUE, [(taken.key, taken.token)]) == [expected]
        if self.model.holds(taken):
            self.entries[taken.key].until_ms = self.clock.now_ms + LEASE_MS

    @precondition(lambda self: self.entries)
    @rule(pick=st.integers(0))
    def withdraw(self, pick: int) -> None:
        entry = self.pick(list(self.entries.values()), pick)
        job, number = entry.key.split(":")
        is_free = entry.state in ("ready", "delayed")
        is_held = entry.state == "running"
        expected = Withdrawn.WITHDRAWN if is_free else Withdrawn.HELD if is_held else Withdrawn.GONE
        assert self.jobs[job].withdraw(QUEUE, [number]) == [expected]
        if is_free:
            entry.release("done")

    @rule(duration_ms=st.sampled_from((1, 100, 700, 1101, 2500, 29_000, 31_000)))
    def let_time_pass(self, duration_ms: int) -> None:
        self.clock.advance_ms(duration_ms)

    @rule(duration_ms=st.sampled_from((0, 29_000, 31_000)))
    def watch_over_time(self, duration_ms: int) -> None:
        """Time passes while the reaper beats, so that no silence gives a grace."""
        for _ in range(duration_ms // 2500):
            self.clock.advance_ms(2500)
            self.transitions.tick("w0")
        self.reap(0)

    @rule(worker=st.sampled_from(WORKERS))
    def reap(self, worker: int) -> None:
        beat = self.transitions.tick(f"w{worker}")
        if not beat.owned:
            return
        reaped = self.transitions.reap(QUEUE, beat)
        moved = self.model.move_due()
        expired, given_up = self.model.expire() if beat.may_expire else (0, set())
        assert (reaped.moved, reaped.expired) == (moved + expired - len(given_up), expired)
        assert {key for key, _ in reaped.given_up} == given_up
        self.push_tickets(reaped.lacking_tickets)
        for key, token in reaped.given_up:
            self.entries[key].token, self.entries[key].until_ms = token, self.clock.now_ms + LEASE_MS
            self.finish(key, token, False, 1)

    @rule()
    def lose_a_ticket(self) -> None:
        self.client.lpop(redis_keys.tickets(FLEET, QUEUE, BULK))

    def finish(self, key: str, token: str, ok: bool, expected: int) -> None:
        job = key.split(":")[0]
        assert self.transitions.finish(QUEUE, job, [Finish(key, token, outcome(key, ok))]) == [expected]
        if expected == 1:
            self.model.end(key, ok)

    def push_tickets(self, count: int) -> None:
        for _ in range(count):
            self.client.lpush(redis_keys.tickets(FLEET, QUEUE, BULK), b"ticket")

    @staticmethod
    def pick(among: list[Any], number: int) -> Any:
        return among[number % len(among)]

    # What must hold

    @invariant()
    def each_request_is_in_exactly_one_place(self) -> None:
        client: Any = self.client
        places: dict[str, list[str]] = {"ready": [], "running": [], "delayed": []}
        for key, state in (
            (self.keys.ready_urgent, "ready"),
            (self.keys.ready_bulk, "ready"),
            (self.keys.running, "running"),
            (self.keys.delayed, "delayed"),
        ):
            places[state] += [name.decode() for name in client.zrange(key, 0, -1)]
        assert places["ready"] == [entry.key for entry in self.model.in_state("ready")]  # in the order of acceptance
        running, delayed = self.model.in_state("running"), self.model.in_state("delayed")
        assert sorted(places["running"]) == sorted(entry.key for entry in running)
        assert sorted(places["delayed"]) == sorted(entry.key for entry in delayed)
        tokens = {name.decode(): token.decode() for name, token in client.hgetall(self.keys.leases).items()}
        assert tokens == {entry.key: entry.token for entry in running}

    @invariant()
    def nothing_is_left_of_what_is_over(self) -> None:
        client: Any = self.client
        known = {entry.key.encode() for entry in self.model.open_entries()}
        assert set(client.hkeys(self.keys.requests)) == known
        assert set(client.hkeys(self.keys.places)) == known
        assert set(client.hkeys(self.keys.attempts)) <= known
        assert set(client.hkeys(self.keys.expiries)) <= known

    @invariant()
    def each_end_is_one_outcome(self) -> None:
        client: Any = self.client
        for name, job in self.jobs.items():
            entries = job.outcomes("0", count=10_000)
            found = {f"{name}:{one.id}": one.ok for _, one in entries}
            assert len(found) == len(entries)
            assert found == {key: ok for key, ok in self.model.ends.items() if key.startswith(f"{name}:")}
            counts = client.hgetall(redis_keys.job(FLEET, name))
            assert int(counts.get(b"succeeded", 0)) == sum(found.values())
            assert int(counts.get(b"failed", 0)) == len(found) - sum(found.values())

    @invariant()
    def no_window_is_over_its_amount(self) -> None:
        for now_ms, _ in self.grants[-10:]:
            trailing = [cost for at_ms, cost in self.grants if now_ms - WINDOW_MS <= at_ms <= now_ms]
            assert len(trailing) <= LIMITS[0].amount
            assert sum(trailing) <= LIMITS[1].amount

    def teardown(self) -> None:
        """Everything drains, although tickets were lost: the reaper's are enough."""
        for _ in range(400):
            if not self.model.open_entries():
                break
            self.clock.advance_ms(1101)
            self.reap(0)
            if self.client.lpop(redis_keys.tickets(FLEET, QUEUE, BULK)):
                held = len(self.held)
                self.take(0, REQUESTS_PER_TICKET)
                for taken in self.held[held:]:
                    self.finish(taken.key, "", True, 1)
        assert not self.model.open_entries()
        self.each_end_is_one_outcome()
        self.client.close()
        super().teardown()


def test_each_request_ends_in_exactly_one_outcome_whatever_happens(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taker_module, "elapsed_s", stand_in.clock.time)
    machine: Callable[[], LedgerMachine] = partial(LedgerMachine, stand_in)
    # Its annotation asks for a class, its documentation for anything that makes a machine.
    run_state_machine_as_test(machine, settings=settings(max_examples=25, stateful_step_count=40))  # type: ignore[arg-type]
