"""`keyfleet keys probe`: ask the provider now."""

from __future__ import annotations

import sys
from typing import Any

import click

from keyfleet.cli import options
from keyfleet.config import KeyConfig
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.cli.keys_answers import in_words, provider_words, works
from keyfleet_workers.cli.keys_desk import KeysDesk, ask_all, open_fleet
from keyfleet_workers.holds import Holds, KeyState
from keyfleet_workers.key_views import FleetView
from keyfleet_workers.limiter import ExactRedisStorage
from keyfleet_workers.probing import ask_for_credit, ask_freely
from keyfleet_workers.provider import Verdict, VerdictKind

__all__ = ["probe"]


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
        for (config, binding), verdict in zip(bound, verdicts, strict=True):
            _conclude(fleet, binding, verdict)
            words = in_words(verdict)
            if model is not None and works(verdict):
                words = _ask_for_credit(desk, fleet, binding, model)
            standing = _standing(fleet, config, binding)
            is_fine = is_fine and works(verdict) and standing is None
            click.echo(f"{config.name}: {words}{f'; it {standing}' if standing else ''}", err=True)
        fleet.call_back([config.name for config, _ in bound])
    sys.exit(0 if is_fine else 1)


def _conclude(fleet: FleetView, binding: KeyBinding, verdict: Verdict) -> None:
    """Set and lift what the free call tells of: not of credit."""
    holds, scopes = Holds(fleet.client), fleet.scopes(binding)
    if verdict.kind is VerdictKind.REVOKED:
        holds.set(scopes.refused, KeyState.REVOKED, provider_words(verdict), None)
    elif works(verdict):
        holds.lift(scopes.refused, scopes.way, scopes.failing)


def _ask_for_credit(desk: KeysDesk, fleet: FleetView, binding: KeyBinding, model: str) -> str:
    """Send a call that has to be paid, within the key's limits; returns what came back."""
    if not binding.serves(model):
        return f"works, and doesn't serve {model}"
    holds, credit = Holds(fleet.client), fleet.scopes(binding).credit
    storage = ExactRedisStorage("keyfleet+unix://", connection_pool=fleet.client.connection_pool)
    client = desk.provider(binding)
    try:
        verdict = ask_for_credit(client, binding, model, storage)
    finally:
        client.close()
    if verdict is None:
        return "works; its limits leave no room for a call now"
    if verdict.kind is VerdictKind.OUT_OF_CREDIT:
        holds.set(credit, KeyState.OUT_OF_CREDIT, provider_words(verdict), None)
    elif works(verdict):
        holds.lift(credit)
    return in_words(verdict)


def _standing(fleet: FleetView, config: KeyConfig, binding: KeyBinding) -> str | None:
    """What still holds the whole key, and what to do about it."""
    gravest = fleet.key(config, binding).gravest
    if gravest is None or gravest.pool is not None:
        return None
    advice = {
        KeyState.DISABLED: ": `keyfleet keys enable` ends that",
        KeyState.OUT_OF_CREDIT: ": only a call that is paid tells of credit, so name a --model to ask, or enable it",
    }.get(gravest.state, "")
    return f"stays {gravest.state.value.replace('_', ' ')}{advice}"
