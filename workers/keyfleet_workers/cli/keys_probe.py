"""`keyfleet keys probe`: ask the provider now."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import Any

import click

from keyfleet.cli import options
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.cli.keys_desk import KeysDesk, ask_all, open_fleet
from keyfleet_workers.holds import Holds, KeyScopes, KeyState
from keyfleet_workers.key_views import FleetView, StateView
from keyfleet_workers.limiter import ExactRedisStorage
from keyfleet_workers.probe_answers import conclude, in_words, pays, provider_words, works
from keyfleet_workers.probing import PaidProbe, ask_freely
from keyfleet_workers.provider import Verdict, VerdictKind

__all__ = ["probe"]

_SAID = {
    VerdictKind.REVOKED: KeyState.REVOKED,
    VerdictKind.OUT_OF_CREDIT: KeyState.OUT_OF_CREDIT,
    VerdictKind.UNREACHABLE: KeyState.UNREACHABLE,
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of asking about one key."""

    words: str
    verdict: Verdict
    is_fine: bool


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--model", metavar="NAME", help="Also send this model the smallest call, which alone tells of credit.")
@options.keys
@options.broker
@options.fleet
def probe(names: tuple[str, ...], model: str | None, **given: Any) -> None:
    """Ask the provider about keys now, say what came back, and end states that no longer hold.

    The question, for the list of models, costs nothing. Exit code 1 where a key or the model doesn't work.
    """
    desk = KeysDesk.open()
    bound = desk.bind_all(names)
    verdicts = ask_all(desk, [binding for _, binding in bound], ask_freely)
    is_fine = True
    with open_fleet(desk.settings) as fleet:
        for (config, binding), found in zip(bound, verdicts, strict=True):
            conclude(Holds(fleet.client), fleet.scopes(binding), found)
            answer = _Answer(in_words(found), found, works(found))
            if model is not None and works(found):
                answer = _ask_for_credit(desk, fleet, binding, model, answer)
            standing = fleet.key(config, binding).gravest
            is_fine = is_fine and answer.is_fine and (standing is None or standing.pool is not None)
            click.echo(f"{config.name}: {answer.words}{_still(standing, answer.verdict)}", err=True)
        fleet.call_back([config.name for config, _ in bound])
    sys.exit(0 if is_fine else 1)


def _ask_for_credit(desk: KeysDesk, fleet: FleetView, binding: KeyBinding, model: str, before: _Answer) -> _Answer:
    """Send a call that has to be paid, within the key's limits; `before` is what the free call brought."""
    if not binding.serves(model):
        return replace(before, words=f"works, and doesn't serve {model}")
    storage = ExactRedisStorage("keyfleet+unix://", connection_pool=fleet.client.connection_pool)
    client = desk.provider(binding)
    try:
        verdict = PaidProbe(client, binding, storage).ask(model)
    finally:
        client.close()
    if verdict is None:
        return replace(before, words="works; its limits leave no room for a call now")
    _conclude_of_credit(Holds(fleet.client), fleet.scopes(binding), verdict)
    return _Answer(in_words(verdict, model=model), verdict, pays(verdict))


def _conclude_of_credit(holds: Holds, scopes: KeyScopes, verdict: Verdict) -> None:
    """Set and lift what the call tells of that has to be paid."""
    if verdict.kind is VerdictKind.REVOKED:
        holds.set(scopes.refused, KeyState.REVOKED, provider_words(verdict), None)
    elif verdict.kind is VerdictKind.OUT_OF_CREDIT:
        spent = scopes.own_credit if verdict.is_own_budget else scopes.credit
        holds.set(spent, KeyState.OUT_OF_CREDIT, provider_words(verdict), None)
    if works(verdict):
        holds.lift_after_probe(*holds.read([scopes.refused]))
    if pays(verdict):
        holds.lift_after_probe(*holds.read(list(dict.fromkeys([scopes.credit, scopes.own_credit]))))


def _still(standing: StateView | None, verdict: Verdict) -> str:
    """What still holds the whole key and what to do about it, unless the provider has just said the same."""
    if standing is None or standing.pool is not None or _SAID.get(verdict.kind) is standing.state:
        return ""
    advice = {
        KeyState.DISABLED: ": `keyfleet keys enable` ends that",
        KeyState.OUT_OF_CREDIT: ": only a call that is paid tells of credit, so name a --model to ask, or enable it",
        KeyState.REVOKED: ": it was refused again after such an answer, so name a --model to ask, or enable it",
    }.get(standing.state, "")
    return f"; it stays {standing.state.value.replace('_', ' ')}{advice}"
