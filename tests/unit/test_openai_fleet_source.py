"""Where the official client's fleet comes from, and who closes it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from keyfleet.errors import ConfigurationError
from keyfleet.openai import AsyncOpenAI, OpenAI
from keyfleet.openai.fleet_source import _SharedFleet
from support.fake_fleet import FakeFleet, answer


@pytest.fixture
def fleet() -> FakeFleet:
    return FakeFleet(lambda sent: answer({"id": "c", "choices": []}))


def chat(client: Any) -> Any:
    return client.chat.completions.create(model="m", messages=[])


class MakeFleet:
    """Gives the test's fleet to whoever makes one, and notes with which arguments."""

    def __init__(self, fleet: FakeFleet) -> None:
        self._fleet = fleet
        self.asked: list[dict[str, Any]] = []

    def __call__(self, **options: Any) -> FakeFleet:
        self.asked.append(options)
        return self._fleet


@pytest.fixture
def make_fleet(fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> MakeFleet:
    make = MakeFleet(fleet)
    monkeypatch.setattr("keyfleet.openai.fleet_source._make_fleet", make)
    monkeypatch.setattr("keyfleet.openai.fleet_source._SHARED", _SharedFleet())
    return make


def test_the_event_loop_never_waits_for_the_fleet_to_be_made(fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    made_by: list[str] = []

    def make() -> FakeFleet:
        made_by.append(threading.current_thread().name)
        return fleet

    async def use() -> None:
        client = AsyncOpenAI()
        await asyncio.gather(chat(client), chat(client))

    monkeypatch.setattr("keyfleet.openai.fleet_source._make_fleet", make)
    monkeypatch.setattr("keyfleet.openai.fleet_source._SHARED", _SharedFleet())
    asyncio.run(use())
    assert len(made_by) == 1
    assert threading.main_thread().name not in made_by


def test_what_is_no_fleet_is_refused() -> None:
    wrong: Any = "keys.yaml"
    with pytest.raises(ConfigurationError, match=r"fleet: expected a keyfleet\.Fleet, not str"):
        OpenAI(fleet=wrong)


def test_a_client_closes_only_a_fleet_of_its_own(fleet: FakeFleet, make_fleet: MakeFleet) -> None:
    OpenAI(fleet=fleet).close()
    assert not fleet.is_closed
    OpenAI(keys=["sk-1"], broker_url="redis://b").close()
    assert make_fleet.asked == [{"keys": ["sk-1"], "broker_url": "redis://b"}]
    assert fleet.is_closed


def test_clients_without_a_fleet_share_one_which_is_made_at_the_first_call(
    fleet: FakeFleet, make_fleet: MakeFleet
) -> None:
    first, second = OpenAI(), OpenAI()
    assert make_fleet.asked == []
    chat(first)
    first.close()
    chat(second)
    assert make_fleet.asked == [{}]
    assert not fleet.is_closed


def test_a_fleet_and_what_would_make_one_exclude_each_other(fleet: FakeFleet) -> None:
    with pytest.raises(ConfigurationError, match="leave out broker_url and keys"):
        OpenAI(fleet=fleet, keys=["sk-1"])
    with pytest.raises(ConfigurationError, match="has its fleet"):
        OpenAI(keys=["sk-1"], http_client=OpenAI(fleet=fleet)._client)
