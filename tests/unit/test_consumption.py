"""Which queues are consumed from, and how many tickets may be held, on a stand-in for Celery's consumer."""

from __future__ import annotations

import random
from typing import Any

import pytest

from keyfleet_workers.consumption import EARLY_S, Consumption, consumer_step, ticket_queue
from keyfleet_workers.dispatch.taking import STANDING_S
from support.celery_consumer import Consumer, Hub


class Case:
    def __init__(self) -> None:
        self.hub = Hub()
        self.consumer = Consumer(self.hub)
        self.consumption = Consumption()
        self.consumption.attach(self.consumer)

    def reconnect(self) -> Consumer:
        self.consumer = Consumer(self.hub)
        self.consumption.attach(self.consumer)
        self.hub.run()
        return self.consumer


@pytest.fixture
def case() -> Case:
    return Case()


def serving(case: Case, *queues: str) -> Consumer:
    for queue in queues:
        case.consumption.serve(queue)
    case.hub.run()
    return case.consumer


def test_a_queue_is_consumed_from_once_it_is_served(case: Case) -> None:
    consumer = serving(case, "a", "b", "a")
    assert consumer.queues == {"a", "b"}
    assert consumer.task_consumer is not None
    assert consumer.task_consumer.added == ["a", "b"]
    assert case.consumption.served() == {"a", "b"}


def test_queues_that_were_served_before_the_first_connection_are_consumed_with_it() -> None:
    consumption, hub = Consumption(), Hub()
    consumption.serve("a")
    consumer = Consumer(hub)
    consumption.attach(consumer)
    hub.run()
    assert consumer.queues == {"a"}


def test_a_paused_queue_is_left_alone_until_its_wait_ends(case: Case) -> None:
    consumer = serving(case, "a", "b")
    case.consumption.pause("a", 1.0)
    case.hub.run()
    assert consumer.queues == {"b"}
    case.hub.advance(0.9)
    assert consumer.queues == {"b"}
    case.hub.advance(0.2)
    assert consumer.queues == {"a", "b"}


def test_a_long_pause_ends_a_little_early_as_a_ticket_takes_a_moment(case: Case) -> None:
    consumer = serving(case, "a")
    case.consumption.pause("a", 60.0)
    case.hub.run()
    case.hub.advance(60.0 - EARLY_S - 0.01)
    assert consumer.queues == set()
    case.hub.advance(0.02)
    assert consumer.queues == {"a"}
    assert EARLY_S < STANDING_S


def test_the_end_of_a_pause_ends_no_later_one(case: Case) -> None:
    consumer = serving(case, "a")
    case.consumption.pause("a", 1.0)
    case.hub.run()
    case.hub.advance(0.5)
    case.consumption.pause("a", 2.0)
    case.hub.run()
    case.hub.advance(1.0)
    assert consumer.queues == set()
    case.hub.advance(1.1)
    assert consumer.queues == {"a"}


def test_a_queue_can_be_resumed_before_its_pause_ends(case: Case) -> None:
    consumer = serving(case, "a")
    case.consumption.pause("a", 2.0)
    case.hub.run()
    case.consumption.resume("a")
    case.hub.run()
    assert consumer.queues == {"a"}


@pytest.mark.parametrize("seed", range(6))
def test_the_last_word_counts_in_whatever_order_the_loop_runs_them(case: Case, seed: int) -> None:
    consumer = serving(case, "a")
    case.hub.shuffle = random.Random(seed).shuffle
    case.consumption.pause("a", 2.0)
    case.consumption.resume("a")
    case.hub.run()
    assert consumer.queues == {"a"}
    case.consumption.pause("a", 1.0)
    case.consumption.pause("a", 2.0)
    case.hub.run()
    assert consumer.queues == set()
    case.hub.advance(1.5)
    assert consumer.queues == set()
    case.hub.advance(0.6)
    assert consumer.queues == {"a"}


def test_a_pause_that_could_not_cancel_ends_all_the_same(case: Case) -> None:
    consumer = serving(case, "a")
    assert consumer.task_consumer is not None
    case.consumption.pause("a", 1.0)
    consumer.task_consumer.error = OSError("gone")
    case.hub.run()
    consumer.task_consumer.error = None
    consumer.task_consumer.cancel_by_queue("a")  # as far as it went
    case.hub.advance(1.1)
    assert consumer.queues == {"a"}


def test_changes_while_the_connection_is_lost_end_no_event_loop(case: Case) -> None:
    consumer = serving(case, "a")
    consumer.task_consumer = None
    case.consumption.pause("a", 1.0)
    case.consumption.resume("a")
    case.consumption.serve("b")
    case.hub.run()
    case.hub.advance(2.0)
    assert case.reconnect().queues == {"a", "b"}


def test_after_a_reconnection_all_served_queues_are_consumed_and_old_pauses_are_over(case: Case) -> None:
    serving(case, "a", "b")
    case.consumption.pause("a", 5.0)
    case.hub.run()
    consumer = case.reconnect()
    assert consumer.queues == {"a", "b"}
    case.consumption.pause("a", 10.0)
    case.hub.run()
    case.hub.advance(6.0)  # the old pause's end is past
    assert consumer.queues == {"b"}


def test_a_pause_that_the_loop_comes_to_only_after_a_reconnection_is_over(case: Case) -> None:
    serving(case, "a")
    case.hub.shuffle = list.reverse
    case.consumption.pause("a", 5.0)
    assert case.reconnect().queues == {"a"}


def test_one_ticket_more_may_be_held_for_each_chunk_under_way(case: Case) -> None:
    began = [case.consumption.chunk_began() for _ in range(3)]
    case.consumer.qos.update()  # as the event loop does
    assert case.consumer.prefetch == [4]
    for generation in began:
        case.consumption.chunk_ended(generation)
    assert case.consumer.qos.value == 1


def test_a_chunk_that_began_wakes_the_loop_which_applies_the_count(case: Case) -> None:
    case.consumption.chunk_began()
    assert case.hub.ready


def test_the_count_is_never_below_what_is_held_and_one_more(case: Case) -> None:
    random_numbers = random.Random(7)
    held: list[int] = []
    for _ in range(500):
        if held and random_numbers.random() < 0.5:
            case.consumption.chunk_ended(held.pop())
        else:
            held.append(case.consumption.chunk_began())
        assert case.consumer.qos.value == len(held) + 1


def test_chunks_of_a_lost_connection_lower_no_count_of_the_new_one(case: Case) -> None:
    old = [case.consumption.chunk_began() for _ in range(3)]
    consumer = case.reconnect()
    new = case.consumption.chunk_began()
    for generation in old:
        case.consumption.chunk_ended(generation)
    assert consumer.qos.value == 2
    case.consumption.chunk_ended(new)
    assert consumer.qos.value == 1


def test_before_the_first_connection_chunks_and_pauses_do_no_harm() -> None:
    consumption = Consumption()
    consumption.chunk_ended(consumption.chunk_began())
    consumption.pause("a", 1.0)
    consumption.resume("a")
    consumption.stop()


def test_a_worker_that_stops_consumes_from_nothing_any_more(case: Case) -> None:
    consumer = serving(case, "a", "b")
    case.consumption.pause("a", 1.0)
    case.hub.run()
    case.consumption.stop()
    case.consumption.serve("c")
    case.hub.run()
    case.hub.advance(2.0)
    assert consumer.queues == set()
    assert case.reconnect().queues == set()


def test_a_queue_is_never_declared_as_a_full_server_would_refuse_that() -> None:
    queue: Any = ticket_queue("org%2Fm")
    assert (queue.name, queue.routing_key, queue.exchange.name, queue.no_declare) == ("org%2Fm", "org%2Fm", "", True)


def test_the_step_begins_with_one_ticket_and_attaches_each_connection() -> None:
    consumption, hub = Consumption(), Hub()
    step = consumer_step(consumption)
    consumer: Any = Consumer(hub)
    consumption.serve("a")
    instance = step(consumer)
    assert consumer.initial_prefetch_count == 1
    instance.start(consumer)
    hub.run()
    assert consumer.queues == {"a"}
