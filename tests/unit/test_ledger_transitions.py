"""Accepting, finishing, withdrawing and collecting: examples beside the state machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.contract import AttemptError, Outcome, Request
from keyfleet.ledger import Finish, JobLedger, JobOptions, Retry, Taken, Transitions, Withdrawn, model_of, queue_of
from keyfleet.redis_keys import QueueKeys
from keyfleet_workers.binding import Quota
from keyfleet_workers.dispatch.taker import Taker
from keyfleet_workers.holds import KeyScopes

if TYPE_CHECKING:
    from support.stand_in import StandIn

LEASE_MS = 30_000
SCOPES = KeyScopes("fingerprint", None, "host")
NO_QUOTA = Quota("none", ())
ERROR = AttemptError(503, "http_503", "busy", "key-1", 12.5)


def request(number: int = 0, *, urgent: bool = False, **context: object) -> Request:
    return Request(str(number), "/v1/x", "m", b'{"a":1}', 7, dict(context), urgent)


def success(key: str = "job:0") -> Outcome:
    return Outcome(key, True, 200, b'{"ok":1}', 2, (ERROR,), "key-1", "req-9", 5, 99.5)


def failure(key: str = "job:0") -> Outcome:
    return Outcome(key, False, 400, None, 1, (ERROR,), "key-1", finished_s=99.5)


class Ledger:
    """A queue, a job and two workers."""

    def __init__(self, stand_in: StandIn, options: JobOptions) -> None:
        self.clock = stand_in.clock
        self.client: redis.Redis = stand_in.client()
        self.job = JobLedger(self.client, "f", "job", options, declare_flags=False)
        self.job.open()
        self.transitions = Transitions(self.client, "f", lease_ms=LEASE_MS, declare_flags=False)
        self.takers = [
            Taker(
                self.client, "f", worker_id=name, key_name="one", scopes=SCOPES, lease_ms=LEASE_MS, declare_flags=False
            )
            for name in ("w0", "w1")
        ]

    def take(self, worker: int = 0, most: int = 1) -> tuple[Taken, ...]:
        return self.takers[worker].take("q", NO_QUOTA, most).taken

    def take_one(self, worker: int = 0) -> Taken:
        (taken,) = self.take(worker)
        return taken

    def expire(self) -> None:
        """A lease's life passes under a reaper that never falls silent."""
        for _ in range(LEASE_MS // 2500 + 2):
            self.clock.advance_ms(2500)
            beat = self.transitions.tick("w1")
        self.transitions.reap("q", beat)

    def finish(self, finish: Finish) -> int:
        (written,) = self.transitions.finish("q", "job", [finish])
        return int(written)

    def outcomes(self) -> list[Outcome]:
        return [outcome for _, outcome in self.job.outcomes("0", count=100)]

    def counts(self) -> tuple[int, int]:
        found = self.client.hmget(redis_keys.job("f", "job"), ["succeeded", "failed"])
        assert isinstance(found, list)
        return int(found[0] or 0), int(found[1] or 0)


@pytest.fixture
def ledger(stand_in: StandIn) -> Ledger:
    return Ledger(stand_in, JobOptions())


def test_a_request_is_accepted_once(ledger: Ledger) -> None:
    assert ledger.job.accept("q", [request(0), request(1), request(0)]) == [True, True, False]
    assert ledger.job.accept("q", [request(1), request(2)]) == [False, True]
    assert ledger.job.depths("q") == {"ready": 3, "running": 0, "delayed": 0}


def test_a_batch_that_is_accepted_again_since_its_answer_was_lost_brings_nothing_back(ledger: Ledger) -> None:
    batch = [request(0), request(1)]
    assert ledger.job.accept("q", batch, batch="b1") == [True, True]
    taken = ledger.take_one()
    assert ledger.finish(Finish(taken.key, "", success(taken.key))) == 1
    assert ledger.job.accept("q", batch, batch="b1") == [False, True]
    assert ledger.job.depths("q") == {"ready": 1, "running": 0, "delayed": 0}
    assert ledger.job.accept("q", [request(2)], batch="b2") == [True]


def test_a_job_that_the_server_lost_is_noticed_though_new_requests_were_accepted(ledger: Ledger) -> None:
    assert ledger.job.is_known()
    ledger.client.flushall()
    ledger.job.accept("q", [request(0)], batch="b1")
    taken = ledger.take_one()
    assert ledger.finish(Finish(taken.key, "", success(taken.key))) == 1
    assert not ledger.job.is_known()
    assert ledger.outcomes()[0].request_body == taken.body


def test_what_was_accepted_is_what_is_taken(stand_in: StandIn) -> None:
    options = JobOptions(max_attempts=3, timeout_s=12.5, timeout_attempts=1)
    ledger = Ledger(stand_in, options)
    ledger.job.accept("q", [replace(request(4, custom_id="ü\n"), body=b'{"x":"\n\xc3\xbc"}')])
    taken = ledger.take_one()
    assert (taken.key, taken.endpoint, taken.model, taken.cost_tokens) == ("job:4", "/v1/x", "m", 7)
    assert (taken.body, taken.context, taken.options, taken.attempts) == (
        b'{"x":"\n\xc3\xbc"}',
        {"custom_id": "ü\n"},
        options,
        (),
    )


def test_a_lone_surrogate_in_a_context_or_an_error_is_no_obstacle(ledger: Ledger) -> None:
    ledger.job.accept("q", [request(0, custom_id="\ud800")])
    taken = ledger.take_one()
    error = replace(ERROR, message="bad \udfff")
    ledger.transitions.retry("q", [Retry(taken.key, taken.token, 0, (error,))])
    ledger.expire()
    taken = ledger.take_one()
    assert taken.attempts == (error,)
    assert ledger.finish(Finish(taken.key, taken.token, replace(failure(), errors=(error,)))) == 1
    (outcome,) = ledger.outcomes()
    assert (outcome.context, outcome.errors) == ({"custom_id": "\ud800"}, (error,))


def test_an_outcome_is_read_as_it_was_written(ledger: Ledger) -> None:
    ledger.job.accept("q", [request(0, custom_id="c"), request(1)])
    first, second = ledger.take(most=2)
    ledger.transitions.finish(
        "q", "job", [Finish(first.key, "", success()), Finish(second.key, second.token, failure())]
    )
    assert ledger.outcomes() == [
        replace(success(), id="0", context={"custom_id": "c"}),
        replace(failure(), id="1"),
    ]
    assert ledger.counts() == (1, 1)


def test_a_job_that_asks_for_it_gets_the_body_of_the_request_back(stand_in: StandIn) -> None:
    ledger = Ledger(stand_in, JobOptions(echo=True))
    ledger.job.accept("q", [request(0)])
    ledger.finish(Finish(ledger.take_one().key, "", success()))
    assert [outcome.request_body for outcome in ledger.outcomes()] == [b'{"a":1}']


def test_a_success_of_an_old_lease_holder_counts(ledger: Ledger) -> None:
    ledger.job.accept("q", [request()])
    old = ledger.take_one(0)
    ledger.expire()
    new = ledger.take_one(1)
    assert ledger.finish(Finish(old.key, "", success())) == 1
    assert ledger.finish(Finish(new.key, "", success())) == 0
    assert ledger.transitions.renew("q", [(new.key, new.token)]) == [-1]
    assert ledger.counts() == (1, 0)


def test_a_success_is_taken_while_its_request_is_ready_or_delayed(ledger: Ledger) -> None:
    ledger.job.accept("q", [request(0), request(1)])
    first, second = ledger.take(most=2)
    ledger.transitions.hand_back("q", [(first.key, first.token)])
    ledger.transitions.retry("q", [Retry(second.key, second.token, 60_000, (ERROR,))])
    done = [Finish(first.key, "", success(first.key)), Finish(second.key, "", success(second.key))]
    assert ledger.transitions.finish("q", "job", done) == [1, 1]
    assert ledger.job.depths("q") == {"ready": 0, "running": 0, "delayed": 0}


def test_a_failure_of_an_old_lease_holder_is_refused(ledger: Ledger) -> None:
    ledger.job.accept("q", [request()])
    old = ledger.take_one(0)
    ledger.expire()
    assert ledger.finish(Finish(old.key, old.token, failure())) == -1
    new = ledger.take_one(1)
    assert ledger.finish(Finish(old.key, old.token, failure())) == -1
    assert ledger.transitions.hand_back("q", [(old.key, old.token)]) == 0
    assert ledger.transitions.retry("q", [Retry(old.key, old.token, 0, (ERROR,))]) == 0
    assert ledger.finish(Finish(new.key, new.token, failure())) == 1
    assert ledger.counts() == (0, 1)


def test_an_outcome_that_the_server_lost_is_delivered_again(ledger: Ledger) -> None:
    ledger.job.accept("q", [request()])
    taken = ledger.take_one()
    assert ledger.finish(Finish(taken.key, "", success(), taken.record)) == 1
    ledger.client.delete(redis_keys.job_outcomes("f", "job"))  # the finish is lost, its acceptance too
    assert ledger.finish(Finish(taken.key, "", success(), taken.record)) == 1
    assert [outcome.id for outcome in ledger.outcomes()] == ["0"]
    assert ledger.job.depths("q")["ready"] == 0


def test_an_outcome_of_a_request_that_the_server_still_has_ends_it_once(ledger: Ledger) -> None:
    ledger.job.accept("q", [request()])
    taken = ledger.take_one()
    assert ledger.finish(Finish(taken.key, "", success(), taken.record)) == 1
    assert ledger.finish(Finish(taken.key, "", success())) == 0
    assert len(ledger.outcomes()) == 1


def test_an_outcome_delivered_again_to_a_closed_job_is_dropped(ledger: Ledger) -> None:
    ledger.job.accept("q", [request()])
    taken = ledger.take_one()
    ledger.finish(Finish(taken.key, "", success()))
    ledger.job.close()
    assert ledger.finish(Finish(taken.key, "", success(), taken.record)) == 0
    assert ledger.client.exists(redis_keys.job_outcomes("f", "job")) == 0


def test_what_no_worker_holds_can_be_withdrawn(ledger: Ledger) -> None:
    ledger.job.accept("q", [request(number) for number in range(3)])
    running, delayed = ledger.take(most=2)
    ledger.transitions.retry("q", [Retry(delayed.key, delayed.token, 9000, (ERROR,))])
    assert ledger.job.withdraw("q", ["0", "1", "2", "3"]) == [
        Withdrawn.HELD,
        Withdrawn.WITHDRAWN,
        Withdrawn.WITHDRAWN,
        Withdrawn.GONE,
    ]
    assert list(ledger.job.open_ids("q")) == ["0"]
    assert ledger.finish(Finish(running.key, running.token, failure())) == 1


def test_open_ids_are_this_jobs_alone(ledger: Ledger) -> None:
    other = JobLedger(ledger.client, "f", "job2", JobOptions(), declare_flags=False)
    ledger.job.accept("q", [request(number) for number in range(5)])
    other.accept("q", [request(9)])
    ledger.finish(Finish(ledger.take_one().key, "", success()))
    assert sorted(ledger.job.open_ids("q")) == ["1", "2", "3", "4"]
    assert list(other.open_ids("q")) == ["9"]


def test_outcomes_are_read_in_parts_and_trimmed_when_they_are_safe(ledger: Ledger) -> None:
    ledger.job.accept("q", [request(number) for number in range(5)])
    for taken in ledger.take(most=5):
        ledger.finish(Finish(taken.key, "", success(taken.key)))
    first = ledger.job.outcomes("0", count=2)
    rest = ledger.job.outcomes(first[-1][0], count=10)
    assert [outcome.id for _, outcome in first + rest] == ["0", "1", "2", "3", "4"]
    ledger.job.trim(first[-1][0])
    assert [outcome.id for outcome in ledger.outcomes()] == ["2", "3", "4"]
    ledger.job.trim(rest[-1][0])
    assert ledger.outcomes() == []
    assert ledger.job.outcomes(rest[-1][0], count=1) == []


def test_handed_back_requests_keep_their_place(ledger: Ledger) -> None:
    ledger.job.accept("q", [request(0), request(1, urgent=True), request(2), request(3)])
    taken = ledger.take(most=3)
    assert [one.key for one in taken] == ["job:1", "job:0", "job:2"]
    ledger.transitions.hand_back("q", [(one.key, one.token) for one in reversed(taken)])
    assert [one.key for one in ledger.take(most=4)] == ["job:1", "job:0", "job:2", "job:3"]


def test_transitions_in_a_pipeline_happen_together(ledger: Ledger) -> None:
    ledger.job.accept("q", [request(number) for number in range(3)])
    first, second, third = ledger.take(most=3)
    pipeline = ledger.client.pipeline(transaction=False)
    ledger.transitions.finish("q", "job", [Finish(first.key, "", success())], pipeline)
    ledger.transitions.retry("q", [Retry(second.key, second.token, 9000, (ERROR,))], pipeline)
    ledger.transitions.hand_back("q", [(third.key, third.token)], pipeline)
    assert ledger.job.depths("q")["running"] == 3
    pipeline.execute()
    assert ledger.job.depths("q") == {"ready": 1, "running": 0, "delayed": 1}


def test_a_ledger_that_is_empty_leaves_nothing_but_counters(ledger: Ledger) -> None:
    ledger.job.accept("q", [request()])
    ledger.finish(Finish(ledger.take_one().key, "", success()))
    ledger.job.close()
    ledger.clock.advance_ms(30 * 24 * 3_600_000)  # by then the job's record has expired too
    left = ledger.client.keys("*")
    assert isinstance(left, list)
    keys = QueueKeys("f", "q")
    assert sorted(name.decode() for name in left) == sorted([keys.sequence, redis_keys.queues("f")])
    assert ledger.job.queue_names() == ["q"]


@pytest.mark.parametrize("model", ["gpt-4o-mini", "org/model:free", "a b,c", "ü*", "%2F", "a\x06\x169"])
def test_a_model_is_told_from_its_queue(model: str) -> None:
    queue = queue_of(model)
    assert model_of(queue) == model
    assert queue.isascii()
    assert not set(queue) & set("/:* ,\x06\x16")
