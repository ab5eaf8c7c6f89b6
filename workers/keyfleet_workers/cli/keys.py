"""`keyfleet keys`: how keys stand, and what to do about it."""

from __future__ import annotations

import json
from typing import Any

import click

from keyfleet.cli import options
from keyfleet_workers.cli.keys_check import check
from keyfleet_workers.cli.keys_desk import KeysDesk, open_fleet
from keyfleet_workers.cli.keys_probe import probe
from keyfleet_workers.cli.keys_tables import key_document, print_keys
from keyfleet_workers.holds import Holds

__all__ = ["keys"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(invoke_without_command=True, short_help="List keys; check, probe, disable and enable them.")
@options.keys
@options.broker
@options.fleet
@options.use
@_as_json
def keys(as_json: bool, **given: Any) -> None:
    """List keys: state, limits with what is used and left of them now, models, workers.

    Without --broker it is the runs of this machine's embedded server that are asked.

    \b
      keyfleet keys
      keyfleet keys check                        is the file right, and does each key work?
      keyfleet keys disable research-1           leave a key alone, on all hosts
      keyfleet keys enable research-1            use it again, whatever it was set aside for
      keyfleet keys probe research-1             ask the provider now
    """
    if click.get_current_context().invoked_subcommand is None:
        _list(as_json)


@keys.command(name="list")
@options.keys
@options.broker
@options.fleet
@options.use
@_as_json
def list_command(as_json: bool, **given: Any) -> None:
    """List keys: state, limits with what is used and left of them now, models, workers."""
    _list(as_json)


def _list(as_json: bool) -> None:
    desk = KeysDesk.open()
    with open_fleet(desk.settings) as fleet:
        views = [fleet.key(bound.config, bound.binding) for bound in desk.bind()]
    if as_json:
        click.echo(json.dumps([key_document(view) for view in views], indent=2))
    else:
        print_keys(views)


@keys.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@options.keys
@options.broker
@options.fleet
def enable(names: tuple[str, ...], **given: Any) -> None:
    """Use keys again that were disabled, or set aside as revoked, out of credit or unreachable.

    What still holds is found again by the next call. Rests of limits stay as they are.
    """
    desk = KeysDesk.open()
    with open_fleet(desk.settings) as fleet:
        for config, binding in desk.bind_all(names):
            lifted = Holds(fleet.client).lift(*fleet.all_scopes(binding))
            found = fleet.find_models(config)
            click.echo(f"{config.name}: {'enabled' if lifted or found else 'nothing held it'}", err=True)
        fleet.call_back(names)


@keys.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--reason", default="by hand", help="Shown wherever the key is waited for.")
@options.keys
@options.broker
@options.fleet
def disable(names: tuple[str, ...], reason: str, **given: Any) -> None:
    """Leave keys alone from now on, on all hosts, until they are enabled. Calls under way are finished."""
    desk, words = KeysDesk.open(), " ".join(reason.split())
    with open_fleet(desk.settings) as fleet:
        holds = Holds(fleet.client)
        for config, binding in desk.bind_all(names):
            holds.disable(fleet.scopes(binding).disabled, words)
            click.echo(f"{config.name}: disabled", err=True)


keys.add_command(probe)
keys.add_command(check)
