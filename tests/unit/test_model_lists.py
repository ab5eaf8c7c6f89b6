"""Lists of models on the worker's side: when a provider is asked, and what is told of its answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis

from keyfleet import redis_keys
from keyfleet.config import Environment, KeyConfig, ModelSettings, Provider, SecretReference
from keyfleet.listed_models import ListedModel, decode_models
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.model_lists import (
    LARGEST_ANSWER_BYTES,
    LIST_LIFE_MS,
    NEW_ENOUGH_MS,
    TRY_AGAIN_MS,
    ModelLists,
    listed_in,
)
from keyfleet_workers.provider import ProviderClient
from keyfleet_workers.provider.client import ReadOnceEnvironment
from support.events import wait_until
from support.housekeeping_case import HousekeepingCase
from support.scripted_server import ScriptedServer, hang_up

if TYPE_CHECKING:
    from support.stand_in import StandIn

FLEET, SECRET = "main", "sk-very-secret-0123456789"
WANTED, LIST = redis_keys.models_wanted(FLEET), redis_keys.model_list(FLEET, "one")


def page(body: bytes, status: str = "200 OK") -> bytes:
    """A provider's whole answer."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def listing(*names: str) -> bytes:
    rows = [{"id": name, "object": "model", "created": 5, "owned_by": "maker"} for name in names]
    return page(json.dumps({"object": "list", "data": rows}).encode())


class Case:
    """A worker's lists on a stand-in server, before a provider that follows a script."""

    def __init__(self, stand_in: StandIn, provider: ScriptedServer) -> None:
        self.clock = stand_in.clock
        self.client: redis.Redis = stand_in.client()
        self.provider = provider
        self.may_ask = True
        self._clients: list[ProviderClient] = []
        self.lists = self.worker()

    def worker(self, *patterns: str, kind: Provider = "openai", **aliases: str) -> ModelLists:
        """A new worker of the same key; without patterns it serves any model."""
        models = {pattern: ModelSettings() for pattern in patterns}
        models |= {name: ModelSettings(alias=alias) for name, alias in aliases.items()}
        reference, base_url = SecretReference("${KEY}"), self.provider.base_url
        key = KeyConfig("one", reference, models=models, base_url=base_url, provider=kind)
        binding = KeyBinding(key, Environment({"KEY": SECRET}))
        environment = ReadOnceEnvironment({}, True)
        self._clients.append(ProviderClient(binding, connect_timeout_s=5.0, environment=environment))
        return ModelLists(self.client, FLEET, binding, self._clients[-1], lambda: self.may_ask)

    def want(self) -> None:
        self.client.set(WANTED, 1)

    def look(self, lists: ModelLists | None = None) -> None:
        """One look, and what it began, to its end."""
        asking = lists or self.lists
        asking.look()
        asking.wait(10.0)

    def told(self) -> tuple[ListedModel, ...] | None:
        text = cast("bytes | None", self.client.get(LIST))
        return None if text is None else decode_models(text)

    @property
    def names(self) -> list[str]:
        """The names that are told."""
        return [model.id for model in self.told() or ()]

    @property
    def asked(self) -> int:
        """How often the provider was asked."""
        return len(self.provider.requests)

    def close(self) -> None:
        for client in self._clients:
            client.close()


@pytest.fixture
def case(stand_in: StandIn, provider: ScriptedServer) -> Iterator[Case]:
    case = Case(stand_in, provider)
    provider.answer_with(listing("b", "a"))
    yield case
    case.close()


def test_nobody_is_asked_until_somebody_wants_to_know(case: Case) -> None:
    case.look()
    assert (case.asked, case.told()) == (0, None)
    case.want()
    case.look()
    assert case.told() == (ListedModel("a", 5, "maker"), ListedModel("b", 5, "maker"))
    assert case.provider.requests[0].startswith(b"GET /v1/models ")


def test_a_list_is_asked_for_anew_when_it_is_ten_minutes_old_and_still_wanted(case: Case) -> None:
    case.want()
    case.look()
    case.clock.advance_ms(NEW_ENOUGH_MS - 1000)
    case.look()
    assert case.asked == 1
    case.clock.advance_ms(2000)
    case.provider.answer_with(listing("c"))
    case.look()
    assert (case.asked, case.names) == (2, ["c"])
    case.client.delete(WANTED)
    case.clock.advance_ms(NEW_ENOUGH_MS + 1000)
    case.look()
    assert case.asked == 2


def test_of_several_workers_of_a_key_one_asks_and_each_new_one_once(case: Case) -> None:
    case.want()
    other = case.worker("a")
    for lists in (case.lists, other, case.lists, other):
        case.look(lists)
    assert (case.asked, case.names) == (2, ["a"])
    case.clock.advance_ms(NEW_ENOUGH_MS + 1000)
    for lists in (other, case.lists):
        case.look(lists)
    assert case.asked == 3


def test_only_what_the_key_serves_is_told_under_the_names_that_callers_use(case: Case) -> None:
    case.want()
    case.provider.answer_with(listing("gpt-4o", "gpt-4o-mini", "whisper", "prod", "other"))
    case.look(case.worker("gpt-*", "absent", fast="prod"))
    assert case.names == ["fast", "gpt-4o", "gpt-4o-mini"]
    assert (case.told() or ())[0] == ListedModel("fast", 5, "maker")


def test_an_alias_of_a_model_that_the_provider_has_too_is_described_by_what_it_stands_for(case: Case) -> None:
    rows = [{"id": "big", "created": 1, "owned_by": "a"}, {"id": "small", "created": 2, "owned_by": "b"}]
    case.provider.answer_with(page(json.dumps({"data": rows}).encode()))
    case.want()
    case.look(case.worker(big="small"))
    assert case.told() == (ListedModel("big", 2, "b"),)


@pytest.mark.parametrize(
    "answer",
    [
        page(b"{}", "503 Busy"),
        page(b'{"error": {"code": "invalid_api_key"}}', "401 No"),
        page(b"<html>"),
        page(b"[" * 50_000),
        page(b'{"data": {}}'),
        page(b" " * (LARGEST_ANSWER_BYTES + 1)),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
    ],
)
def test_where_a_list_can_not_be_had_nobody_is_kept_waiting_and_an_earlier_one_stays(case: Case, answer: bytes) -> None:
    case.want()
    case.provider.answer_with(answer, hang_up)
    case.look()
    assert (case.asked, case.told()) == (1, ())
    wait_until(lambda: case.provider.ended == case.provider.connections, "the provider has hung up")
    case.clock.advance_ms(TRY_AGAIN_MS + 1000)
    case.provider.answer_with(listing("a"))
    case.look()
    assert case.names == ["a"]
    case.clock.advance_ms(NEW_ENOUGH_MS + 1000)
    case.provider.answer_with(answer, hang_up)
    case.look()
    assert (case.asked, case.names) == (3, ["a"])
    case.clock.advance_ms(LIST_LIFE_MS)
    case.look()
    assert case.told() == ()


def test_neither_a_key_that_is_disabled_nor_azure_is_asked(case: Case) -> None:
    case.want()
    case.may_ask = False
    case.look()
    assert (case.asked, case.told()) == (0, ())
    case.client.flushall()
    case.want()
    case.may_ask = True
    case.look(case.worker("gpt-*", kind="azure"))
    assert (case.asked, case.told()) == (0, ())


def test_no_secret_is_told_also_where_a_provider_repeats_it(case: Case) -> None:
    case.want()
    case.provider.answer_with(listing("a", f"a-{SECRET}"))
    case.look()
    assert len(case.names) == 2
    assert SECRET not in str([case.client.get(name) for name in cast("list[bytes]", case.client.keys("*"))])


def test_a_provider_that_hangs_holds_up_no_look(case: Case) -> None:
    answers = threading.Event()

    def script(connection: Any) -> None:
        answers.wait(30)
        connection.sendall(listing("a"))

    case.provider.script = script
    case.want()
    for _ in range(3):
        case.lists.look()
        case.clock.advance_ms(TRY_AGAIN_MS + 1000)
    answers.set()
    case.lists.wait(10.0)
    assert (case.asked, case.names) == (1, ["a"])


def test_housekeeping_looks_when_it_says_the_status(stand_in: StandIn) -> None:
    case = HousekeepingCase(stand_in, stand_in.client())
    case.client.set(WANTED, 1)
    case.beat()
    assert case.client.get(LIST) is None
    case.beat(says_status=True)
    case.housekeeping.models.wait(10.0)
    assert [model.id for model in decode_models(cast(bytes, case.client.get(LIST)))] == ["a1"]


def test_lists_of_all_shapes_are_read_and_what_is_no_model_is_left_out() -> None:
    anthropic = (
        b'{"data": [{"type": "model", "id": "claude", "created_at": "2025-02-19T00:00:00Z"}], "has_more": false}'
    )
    assert listed_in(anthropic, owner="anthropic") == {"claude": ListedModel("claude", 1739923200, "anthropic")}
    bare = b'[{"id": "a", "created": 1.5, "owned_by": "x"}, {"id": "b", "created": -5, "created_at": "soon"}]'
    assert listed_in(bare, owner="o") == {"a": ListedModel("a", 1, "x"), "b": ListedModel("b", 0, "o")}
    odd = b'{"data": [1, {}, {"id": 5}, {"id": ""}, {"id": "a\\nb"}, {"id": "c", "created": true, "owned_by": 5}]}'
    assert listed_in(odd, owner="o") == {"c": ListedModel("c", 0, "o")}
    assert listed_in(b'{"data": 5}', owner="o") is None
