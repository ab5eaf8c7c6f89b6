"""How keys are shown: nothing that matters is left out, and nothing of a provider's words is taken as markup."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyfleet.config import KeyConfig, ModelSettings, SecretReference
from keyfleet_workers.cli.keys_tables import key_document, keys_table, print_table
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
def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    def show(one: KeyView) -> list[str]:
        print_table(keys_table([one]))
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    return show


def test_a_ready_key_is_one_line(shown: Any) -> None:
    assert shown(view(limits=(MINUTE,), workers=("h1", "h2", "h2")))[1:] == [
        "one ready 60 requests/min 12 48 m, n* h1, h2 (2)"
    ]


def test_every_further_limit_is_a_line_of_its_own_and_none_is_left_below_nothing(shown: Any) -> None:
    assert shown(view(limits=(MINUTE, DAY)))[2:] == ["2,000,000 tokens/day (learned) 2,000,500 0"]


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (StateView(KeyState.DISABLED, "[b]by hand[/b]", None), "one disabled it is lifted m, n* none [b]by hand[/b]"),
        (
            StateView(KeyState.UNREACHABLE, "no way", 75.0, host="h1"),
            "one unreachable in 1 min 15 s m, n* none no way (on h1)",
        ),
        (
            StateView(KeyState.RESTING, "per day", 0.2, pool="abc:n*"),
            "one resting in 1 s m, n* none per day (models of n*)",
        ),
    ],
)
def test_a_state_says_until_when_and_why(shown: Any, state: StateView, line: str) -> None:
    assert shown(view(states=(state,)))[1:] == [line]


def test_what_is_missing_here_and_models_that_were_lost_stand_with_the_reason(shown: Any) -> None:
    (line,) = shown(view(problem="not set here: KEY", lost_models=("m",)))[1:]
    assert line == "one unknown m, n* none not set here: KEY; can't use m"


def test_a_document_holds_everything_and_is_json() -> None:
    state = StateView(KeyState.REVOKED, "invalid_api_key", None)
    document = key_document(view(states=(state,), limits=(DAY,), workers=("h1", "h1"), in_flight=7))
    assert json.loads(json.dumps(document)) == document
    assert (document["state"], document["reason"], document["rest_s"]) == ("revoked", "invalid_api_key", None)
    assert (document["workers"], document["in_flight"], document["models"]) == ({"h1": 2}, 7, ["m", "n*"])
    (limit,) = document["limits"]
    assert (limit["used"], limit["left"], limit["configured"]) == (2_000_500, 0, False)
