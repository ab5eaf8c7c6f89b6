"""The union of models that a producer puts together, and how long it waits for workers' answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.broker import connect
from keyfleet.config import KeyConfig, ModelSettings, SecretReference
from keyfleet.errors import BrokerUnavailable
from keyfleet.fleet_models import ANSWERS_S, FRESH_S, WANTED_MS, FleetModels
from keyfleet.listed_models import ListedModel, encode_models

if TYPE_CHECKING:
    from support.stand_in import StandIn

FLEET = "main"
STATUS = {
    "host": "here",
    "in_flight": 0,
    "slots": 32,
    "short_of_slots": False,
    "waits": {},
    "limits": [],
    "totals": {},
    "state": {"name": "ready", "reason": "", "rest_s": 0.0},
    "queues": {},
    "has_left": False,
}


class Case:
    """`now_s` goes on while somebody waits; then `meanwhile` is called."""

    def __init__(self, stand_in: StandIn, *own_keys: KeyConfig) -> None:
        self.clock = stand_in.clock
        self.client: redis.Redis = stand_in.client()
        self.now_s = 1000.0
        self.meanwhile: Callable[[], object] = lambda: None
        self.models = FleetModels(self.client, FLEET, own_keys, clock=lambda: self.now_s, pause=self._pause)

    def _pause(self, duration_s: float) -> None:
        self.now_s += duration_s
        self.meanwhile()

    def work(self, key_name: str, *models: str, **fields: Any) -> None:
        """A worker of the key says how it is."""
        self.client.zadd(redis_keys.workers(FLEET), {key_name: 1})
        status = json.dumps({**STATUS, "key": key_name, "models": models, **fields})
        self.client.set(redis_keys.worker(FLEET, key_name), status)

    def tell(self, key_name: str, *names: str, owner: str = "maker") -> None:
        """A worker of the key tells what its provider lists."""
        text = encode_models(ListedModel(name, 5, owner) for name in names)
        self.client.set(redis_keys.model_list(FLEET, key_name), text)

    def names(self, *, after_s: float = FRESH_S) -> list[str]:
        """What is listed after some time."""
        self.now_s += after_s
        return [model.id for model in self.models.models()]

    def waited_s(self) -> float:
        """How long one look takes."""
        self.now_s += FRESH_S
        before_s = self.now_s
        self.models.models()
        return self.now_s - before_s


@pytest.fixture
def case(stand_in: StandIn) -> Case:
    return Case(stand_in)


def own_key(name: str, *models: str) -> KeyConfig:
    return KeyConfig(name, SecretReference("${KEY}"), models={model: ModelSettings() for model in models})


def test_the_models_of_all_keys_are_listed_once_each_by_name(case: Case) -> None:
    case.work("one", "gpt-*", "configured")
    case.work("two", "*")
    case.tell("one", "gpt-4o", "gpt-4o-mini", owner="a")
    case.tell("two", "whisper", "gpt-4o", "configured", owner="b")
    assert [model.document() for model in case.models.models()] == [
        {"id": "configured", "object": "model", "created": 5, "owned_by": "b"},
        {"id": "gpt-4o", "object": "model", "created": 5, "owned_by": "a"},
        {"id": "gpt-4o-mini", "object": "model", "created": 5, "owned_by": "a"},
        {"id": "whisper", "object": "model", "created": 5, "owned_by": "b"},
    ]


def test_what_is_configured_is_listed_also_where_no_provider_tells_of_it(case: Case) -> None:
    case.work("one", "a", "b*", "c?", "[d]")
    assert case.models.models() == (ListedModel("a", 0, "keyfleet"),)


def test_keys_that_can_not_be_used_or_were_left_lately_keep_their_models(case: Case) -> None:
    case.work("one", "a", "b*", state={"name": "revoked", "reason": "no", "rest_s": None}, has_left=True)
    case.tell("one", "b1")
    assert case.names() == ["a", "b1"]
    assert case.waited_s() == 0.0
    case.client.delete(redis_keys.worker(FLEET, "one"))
    assert case.names() == []


def test_the_first_look_waits_until_all_keys_have_answered(case: Case) -> None:
    case.work("one", "*")
    case.work("two", "*")
    case.tell("one", "a")

    def answer() -> None:
        if case.now_s >= 1001.0:
            case.tell("two", "b")

    case.meanwhile = answer
    assert case.names(after_s=0.0) == ["a", "b"]
    assert 1001.0 <= case.now_s < 1001.5


def test_a_key_that_does_not_answer_is_waited_for_once(case: Case) -> None:
    case.work("one", "*", "a")
    assert ANSWERS_S <= case.waited_s() < ANSWERS_S + 0.5
    assert case.waited_s() == 0.0
    case.work("two", "*")
    assert case.waited_s() >= ANSWERS_S
    case.tell("one", "b")
    case.tell("two")
    assert (case.names(), case.waited_s()) == (["a", "b"], 0.0)
    case.client.delete(redis_keys.model_list(FLEET, "one"))  # a key that did answer is worth waiting for again
    assert case.waited_s() >= ANSWERS_S


def test_without_workers_there_are_no_models_and_nothing_is_waited_for(case: Case) -> None:
    assert (case.names(), case.waited_s()) == ([], 0.0)


def test_workers_are_asked_for_a_while_with_each_look(case: Case) -> None:
    case.names()
    assert case.client.pttl(redis_keys.models_wanted(FLEET)) == WANTED_MS
    case.clock.advance_ms(WANTED_MS - 1)
    case.names()
    assert case.client.pttl(redis_keys.models_wanted(FLEET)) == WANTED_MS
    case.clock.advance_ms(WANTED_MS + 1)
    assert case.client.exists(redis_keys.models_wanted(FLEET)) == 0


def test_callers_of_one_moment_share_a_look(case: Case) -> None:
    case.work("one", "a")
    case.tell("one")
    assert case.names() == ["a"]
    case.work("one", "a", "b")
    assert case.names(after_s=FRESH_S / 2) == ["a"]
    assert case.names(after_s=FRESH_S / 2) == ["a", "b"]


def test_keys_of_the_fleets_own_are_waited_for_and_listed_before_their_workers_have_begun(stand_in: StandIn) -> None:
    case = Case(stand_in, own_key("one", "a", "b*"), own_key("late", "c"))

    def begin() -> None:
        case.work("one", "a", "b*")
        case.tell("one", "b1")

    case.meanwhile = begin
    assert case.names() == ["a", "b1", "c"]
    case.work("late", "d")  # the file was changed meanwhile
    case.tell("late")
    assert case.names() == ["a", "b1", "d"]


@pytest.mark.parametrize("text", [b"no JSON", b"[]", b'{"v": 9}', b'{"models": [{"id": "x\\n"}]}', b"\xff"])
def test_what_is_no_list_of_models_spoils_no_other_keys(case: Case, text: bytes) -> None:
    case.work("one", "*")
    case.work("two", "*")
    case.tell("two", "a")
    case.client.set(redis_keys.model_list(FLEET, "one"), text)
    assert (case.names(), case.waited_s()) == (["a"], 0.0)


def test_what_can_be_no_models_name_is_not_listed(case: Case) -> None:
    case.work("one", "a", "", "b\r\nc", "d" * 1000)
    case.tell("one")
    assert case.names() == ["a"]


def test_a_full_server_takes_no_question_and_still_tells_what_there_is(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise redis.exceptions.OutOfMemoryError("full")

    case.work("one", "a")
    case.tell("one", "b")
    monkeypatch.setattr(redis.client.Pipeline, "execute", refuse)
    assert case.names() == ["a", "b"]


def test_a_broker_that_is_away_is_an_error_only_until_it_has_answered_once(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BrokerUnavailable, match="the broker doesn't answer"):
        FleetModels(connect("redis://127.0.0.1:1/0"), FLEET).models()
    case.work("one", "a")
    case.tell("one")
    assert case.names() == ["a"]

    def fail(*_: object) -> None:
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(redis.client.Pipeline, "execute", fail)
    assert case.names() == ["a"]


@pytest.fixture
def hung(case: Case, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A broker that hangs after one look that brought a model. The looks that it holds up are counted."""
    go_on, looks = threading.Event(), []
    case.work("one", "a")
    case.tell("one")
    assert case.names() == ["a"]
    case.work("one", "a", "b")
    execute = redis.client.Pipeline.execute

    def hang(pipeline: Any, *arguments: Any) -> Any:
        looks.append(1)
        go_on.wait()
        return execute(pipeline, *arguments)

    monkeypatch.setattr(redis.client.Pipeline, "execute", hang)
    monkeypatch.setattr("keyfleet.fleet_models.PATIENCE_S", 0.01)
    yield looks
    go_on.set()


def test_while_the_broker_hangs_what_is_known_is_told_and_one_look_is_under_way(case: Case, hung: list[int]) -> None:
    assert [case.names() for _ in range(5)] == [["a"]] * 5
    assert len(hung) == 1


def test_an_event_loop_has_no_thread_wait_for_a_broker_that_hangs(
    case: Case, hung: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> list[tuple[ListedModel, ...]]:
        monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", lambda *_: pytest.fail("a thread was asked"))
        return await asyncio.gather(*(case.models.amodels() for _ in range(50)))

    case.now_s += FRESH_S
    assert [[model.id for model in models] for models in asyncio.run(ask())] == [["a"]] * 50
    assert len(hung) == 1


def test_closing_ends_the_wait(stand_in: StandIn) -> None:
    case = Case(stand_in)
    case.work("one", "a")
    case.meanwhile = case.models.close
    assert case.waited_s() < 1.0
