"""`keyfleet keys probe`: ask the provider now."""

from __future__ import annotations

import sys
from typing import Any

import click

from keyfleet.cli import options
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.cli.keys_answers import in_words, provider_words, works
from keyfleet_workers.cli.keys_desk import KeysDesk, ask_all, open_fleet
from keyfleet_workers.holds import Holds, KeyState
from keyfleet_workers.key_views import FleetView, StateView
from keyfleet_workers.limiter import ExactRedisStorage
from keyfleet_workers.probing import ask_for_credit, ask_freely
from keyfleet_workers.provider import Verdict, VerdictKind

__all__ = ["probe"]

_SAID = {
    VerdictKind.REVOKED: KeyState.REVOKED,
    VerdictKind.OUT_OF_CREDIT: KeyState.OUT_OF_CREDIT,
    VerdictKind.UNREACHABLE: KeyState.UNREACHABLE,
}


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--model", metavar="NAME", help="Also send this model the smallest call, which alone tells of credit.")
@options.keys
@options.broker
@options.fleet
def probe(names: tuple[str, ...], model: str | None, **given: Any) -> None:
    """Ask the provider about keys now, say what came back, and end states that no longer hold.

    The question, for the list of models, costs nothing. Exit code 1 where a key doesn't work.
    """
    desk = KeysDesk.open()
    bound = desk.bind_all(names)
    verdicts = ask_all(desk, [binding for _, binding in bound], ask_freely)
    is_fine = True
    with open_fleet(desk.settings) as fleet:
        for (config, binding), found in zip(bound, verdicts, strict=True):
            _conclude(fleet, binding, found)
            words, verdict = in_words(found), found
            if model is not None and works(found):
                words, verdict = _ask_for_credit(desk, fleet, binding, model, found)
            standing = fleet.key(config, binding).gravest
            is_fine = is_fine and works(verdict) and (standing is None or standing.pool is not None)
            click.echo(f"{config.name}: {words}{_still(standing, verdict)}", err=True)
        fleet.call_back([config.name for config, _ in bound])
    sys.exit(0 if is_fine else 1)


def _conclude(fleet: FleetView, binding: KeyBinding, verdict: Verdict) -> None:
    """Set and lift what the free call tells of: not of credit."""
    holds, scopes = Holds(fleet.client), fleet.scopes(binding)
    if verdict.kind is VerdictKind.REVOKED:
        holds.set(scopes.refused, KeyState.REVOKED, provider_words(verdict), None)
    elif works(verdict):
        holds.lift(scopes.refused, scopes.way, scopes.failing)


def _ask_for_credit(
    desk: KeysDesk, fleet: FleetView, binding: KeyBinding, model: str, before: Verdict
) -> tuple[str, Verdict]:
    """Send a call that has to be paid, within the key's limits; returns what came back, `before` if it wasn't sent."""
    if not binding.serves(model):
        return f"works, and doesn't serve {model}", before
    holds, credit = Holds(fleet.client), fleet.scopes(binding).credit
    storage = ExactRedisStorage("keyfleet+unix://", connection_pool=fleet.client.connection_pool)
    client = desk.provider(binding)
    try:
        verdict = ask_for_credit(client, binding, model, storage)
    finally:
        client.close()
    if verdict is None:
        return "works; its limits leave no room for a call now", before
    if verdict.kind is VerdictKind.OUT_OF_CREDIT:
        holds.set(credit, KeyState.OUT_OF_CREDIT, provider_words(verdict), None)
    elif works(verdict):
        holds.lift(credit)
    return in_words(verdict), verdict


def _still(standing: StateView | None, verdict: Verdict) -> str:
    """What still holds the whole key and what to do about it, unless the provider has just said the same."""
    if standing is None or standing.pool is not None or _SAID.get(verdict.kind) is standing.state:
        return ""
    advice = {
        KeyState.DISABLED: ": `keyfleet keys enable` ends that",
        KeyState.OUT_OF_CREDIT: ": only a call that is paid tells of credit, so name a --model to ask, or enable it",
    }.get(standing.state, "")
    return f"; it stays {standing.state.value.replace('_', ' ')}{advice}"
