"""How keys are shown: nothing that matters is left out, and nothing of a provider's words is taken as markup."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from keyfleet.config import KeyConfig, ModelSettings, SecretReference
from keyfleet_workers.cli.keys_tables import key_document, keys_table, print_keys
from keyfleet_workers.holds import KeyState
from keyfleet_workers.key_views import KeyView, LimitView, StateView

CONFIG = KeyConfig("one", SecretReference("${KEY}"), models={"m": ModelSettings(), "n*": ModelSettings()})
MINUTE = LimitView("pool:m", ("m",), "requests", 60, 60, 12, True)
DAY = LimitView("pool:m", ("m",), "tokens", 2_000_000, 86400, 2_000_500, False)


def view(**changed: Any) -> KeyView:
    fields: dict[str, Any] = {
        "config": CONFIG,
        "problem": None,
        "states": (),
        "limits": (),
        "lost_models": (),
        "workers": (),
        "in_flight": 0,
    }
    return KeyView(**{**fields, **changed})


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    def show(*views: KeyView) -> list[str]:
        print_keys(list(views))
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return show


Show = Callable[..., list[str]]


def test_a_ready_key_is_one_line(shown: Show) -> None:
    assert shown(view(limits=(MINUTE,), workers=("h1", "h2", "h2"))) == [
        "Key State Until Limit Used Left Workers Models",
        "one ready 60 requests/min 12 48 h1, h2 (2) m, n*",
    ]


def test_every_further_limit_is_a_line_of_its_own_and_none_is_left_below_nothing(shown: Show) -> None:
    assert shown(view(limits=(MINUTE, DAY)))[2:] == ["2,000,000 tokens/day (learned) 2,000,500 0"]


@pytest.mark.parametrize(
    ("state", "row", "note"),
    [
        (
            StateView(KeyState.DISABLED, "[b]by hand[/b]", None),
            "one disabled it is enabled none m, n*",
            "one: disabled ([b]by hand[/b]); `keyfleet keys enable` ends that",
        ),
        (
            StateView(KeyState.OUT_OF_CREDIT, "", None),
            "one out of credit it works none m, n*",
            "one: out of credit; probed now and then",
        ),
        (
            StateView(KeyState.UNREACHABLE, "unreachable: no way", 75.0, host="h1"),
            "one unreachable in 1 min 15 s none m, n*",
            "one: unreachable on h1 (no way); tried again in 1 min 15 s",
        ),
        (
            StateView(KeyState.RESTING, "per day", 0.2, pool="abc:n*"),
            "one resting in 1 s none m, n*",
            "one: resting for models of n* (per day); tried again in 1 s",
        ),
    ],
)
def test_a_state_says_until_when_and_why(shown: Show, state: StateView, row: str, note: str) -> None:
    assert shown(view(states=(state,)))[1:] == [row, "", note]


def test_all_that_is_to_be_said_of_a_key_stands_below(shown: Show) -> None:
    states = (StateView(KeyState.REVOKED, "no", None), StateView(KeyState.COOLING, "slow", 2.0))
    found = view(states=states, problem="not set here: KEY", lost_models=("m",))
    assert shown(found)[3:] == [
        *("one: revoked (no); probed now and then", "one: cooling (slow); tried again in 2 s"),
        *("one: not set here: KEY", "one: can't use m"),
    ]


def test_the_same_of_several_keys_is_said_once(shown: Show) -> None:
    state = StateView(KeyState.OUT_OF_CREDIT, "no credit", None)
    two = view(config=KeyConfig("two", SecretReference("${KEY}")), states=(state,))
    assert shown(view(states=(state,)), two)[4:] == ["one, two: out of credit (no credit); probed now and then"]


def test_on_a_narrow_terminal_names_states_and_figures_are_whole() -> None:
    names = ("a-rather-long-name", "short")
    state = StateView(KeyState.OUT_OF_CREDIT, "no credit", None)
    views = [view(config=KeyConfig(name, SecretReference("${K}")), states=(state,), limits=(DAY,)) for name in names]
    written = StringIO()
    Console(width=80, file=written).print(keys_table(views, is_narrow=True))
    lines = written.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    text = " ".join("\n".join(lines).split())
    assert "…" not in text
    for name in names:
        assert f"{name} out of credit" in text
    assert text.count("2,000,500 0 none") == 2


def test_a_document_holds_everything_and_is_json() -> None:
    state = StateView(KeyState.REVOKED, "invalid_api_key", None)
    document = key_document(view(states=(state,), limits=(DAY,), workers=("h1", "h1"), in_flight=7))
    assert json.loads(json.dumps(document)) == document
    assert (document["state"], document["reason"], document["rest_s"]) == ("revoked", "invalid_api_key", None)
    assert (document["workers"], document["in_flight"], document["models"]) == ({"h1": 2}, 7, ["m", "n*"])
    (limit,) = document["limits"]
    assert (limit["used"], limit["left"], limit["configured"]) == (2_000_500, 0, False)


def test_a_limit_of_images_is_shown_like_the_others(shown: Show) -> None:
    images = LimitView("pool:m", ("m",), "images", 50, 60, 8, True)
    assert shown(view(limits=(images,)))[1] == "one ready 50 images/min 8 42 none m, n*"
    assert key_document(view(limits=(images,)))["limits"][0]["unit"] == "images"
