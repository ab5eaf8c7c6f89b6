"""The parts of a spread call run side by side; one that fails ends the whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from keyfleet.calls import Answer, Priority
from keyfleet.calls.spread_sending import SendOptions, send_parts, send_whole
from keyfleet.calls.spreading import Spread
from keyfleet.errors import DeadlineExceeded, RequestTooLarge
from support.fake_fleet import FakeFleet, Sent, answer

BODIES = (b"0", b"1", b"2")
PARTS = Spread("embeddings", BODIES, (1, 1, 1))


OPTIONS: SendOptions = {"timeout_s": 5.0, "priority": "bulk", "max_attempts": 2}


class SlowFleet:
    """Answers each body by a function, which may be a coroutine's."""

    def __init__(self, answer: Callable[[int], Any]) -> None:
        self._answer = answer
        self.options: list[dict[str, Any]] = []
        self.cancelled: list[int] = []

    async def asend(
        self,
        endpoint: str,
        body: bytes,
        *,
        timeout_s: float | None = None,
        priority: Priority = "urgent",
        max_attempts: int | None = None,
        start_within_s: float | None = None,
        job: str | None = None,
    ) -> Answer:
        self.options.append(
            {"endpoint": endpoint, "timeout_s": timeout_s, "priority": priority, "max_attempts": max_attempts}
        )
        try:
            found = self._answer(int(body))
            answer: Answer = await found if asyncio.iscoroutine(found) else found
        except asyncio.CancelledError:
            self.cancelled.append(int(body))
            raise
        return answer


def good(number: int) -> Answer:
    data = [{"index": 0, "embedding": [number]}]
    return Answer(200, json.dumps({"data": data}).encode(), f"key-{number % 2}", f"req-{number}", 1 + number, 10)


def send(fleet: SlowFleet) -> Answer:
    return asyncio.run(send_parts(fleet, "/v1/embeddings", PARTS, OPTIONS))


async def never() -> Answer:
    await asyncio.Event().wait()
    raise AssertionError("woken")


def test_the_answer_of_all_parts_tells_what_they_took_together() -> None:
    fleet = SlowFleet(good)
    answer = send(fleet)
    assert [one["embedding"] for one in json.loads(answer.body)["data"]] == [[0], [1], [2]]
    assert (answer.status, answer.key_name, answer.request_id) == (200, "key-0, key-1", "req-0")
    assert (answer.attempts, answer.tokens) == (6, 30)
    assert [{**one, "timeout_s": 5.0} for one in fleet.options] == [{"endpoint": "/v1/embeddings", **OPTIONS}] * 3
    assert all(4 < one["timeout_s"] <= 5 for one in fleet.options)


def test_parts_run_side_by_side() -> None:
    async def all_there(number: int) -> Answer:
        arrived.append(number)
        if len(arrived) == 3:
            everybody.set()
        await everybody.wait()
        return good(number)

    arrived: list[int] = []
    everybody = asyncio.Event()
    assert send(SlowFleet(all_there)).status == 200


def test_a_bounded_number_of_parts_is_under_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def count(number: int) -> Answer:
        under_way.append(number)
        await asyncio.sleep(0)
        assert len(under_way) <= 2
        under_way.remove(number)
        return good(number)

    under_way: list[int] = []
    monkeypatch.setattr("keyfleet.calls.spread_sending.MOST_AT_ONCE", 2)
    fleet = SlowFleet(count)
    assert send(fleet).status == 200
    assert len(fleet.options) == 3


def test_no_more_tasks_are_made_than_parts_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async def count(number: int) -> Answer:
        tasks.append(len(asyncio.all_tasks()))
        return good(number)

    tasks: list[int] = []
    monkeypatch.setattr("keyfleet.calls.spread_sending.MOST_AT_ONCE", 2)
    parts = Spread("embeddings", tuple(b"%d" % number for number in range(50)), (1,) * 50)
    answer = asyncio.run(send_parts(SlowFleet(count), "/v1/embeddings", parts, OPTIONS))
    assert [one["embedding"] for one in json.loads(answer.body)["data"]] == [[number] for number in range(50)]
    assert max(tasks) <= 3


def test_parts_behind_one_that_failed_are_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyfleet.calls.spread_sending.MOST_AT_ONCE", 1)
    fleet = SlowFleet(lambda number: Answer(400, b"bad") if number == 1 else good(number))
    assert send(fleet).body == b"bad"
    assert len(fleet.options) == 2


def test_one_failed_part_ends_the_call_without_waiting_for_the_others() -> None:
    fleet = SlowFleet(lambda number: Answer(400, b"bad") if number == 2 else never())
    answer = send(fleet)
    assert (answer.status, answer.body) == (400, b"bad")
    assert sorted(fleet.cancelled) == [0, 1]


def test_of_several_errors_that_of_the_first_part_is_given() -> None:
    async def fail(number: int) -> Answer:
        if number == 0:
            return await never()
        if number == 2:
            raise DeadlineExceeded("later in the list")
        return Answer(500, b"first of those that failed")

    assert send(SlowFleet(fail)).body == b"first of those that failed"


def test_what_the_fleet_raises_is_raised() -> None:
    def refuse(number: int) -> Answer:
        raise DeadlineExceeded(f"part {number}")

    with pytest.raises(DeadlineExceeded, match="part 0"):
        send(SlowFleet(refuse))


def test_a_list_that_is_too_large_for_every_limit_is_sent_in_halves() -> None:
    def at_most_two(sent: Sent) -> Answer:
        inputs = sent.body["input"]
        if len(inputs) > 2:
            raise RequestTooLarge("too many tokens")
        return answer({"data": [{"index": at, "embedding": text} for at, text in enumerate(inputs)]}, tokens=1)

    fleet = FakeFleet(at_most_two)
    texts = [str(number) for number in range(7)]
    body = json.dumps({"model": "m", "input": texts}).encode()
    whole = asyncio.run(send_whole(fleet, "/v1/embeddings", body, OPTIONS))
    assert [one["embedding"] for one in json.loads(whole.body)["data"]] == texts
    assert [one["index"] for one in json.loads(whole.body)["data"]] == list(range(7))
    assert whole.tokens == 4
    assert all(sent.timeout_s is not None and 4 < sent.timeout_s <= 5 for sent in fleet.sent)


def test_what_can_not_be_divided_is_too_large() -> None:
    def refuse(sent: Sent) -> Answer:
        raise RequestTooLarge("too many tokens")

    fleet = FakeFleet(refuse)
    body = json.dumps({"model": "m", "input": ["a", "b"]}).encode()
    with pytest.raises(RequestTooLarge):
        asyncio.run(send_whole(fleet, "/v1/embeddings", body, {**OPTIONS, "timeout_s": None}))
    assert len(fleet.sent) == 3


def test_a_caller_that_gives_up_takes_all_parts_back() -> None:
    async def give_up() -> None:
        whole = asyncio.ensure_future(send_parts(fleet, "/v1/embeddings", PARTS, OPTIONS))
        while len(fleet.options) < 3:
            await asyncio.sleep(0)
        whole.cancel()
        with pytest.raises(asyncio.CancelledError):
            await whole

    fleet = SlowFleet(lambda number: never())
    asyncio.run(give_up())
    assert sorted(fleet.cancelled) == [0, 1, 2]
