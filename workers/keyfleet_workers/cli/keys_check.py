"""`keyfleet keys check`: is the keys file right, and does each key work?"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import click

from keyfleet.cli import options
from keyfleet.config import keys_warnings
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.cli.keys_desk import Bound, KeysDesk, ask_all
from keyfleet_workers.probe_answers import in_words, works
from keyfleet_workers.probing import ask_freely

__all__ = ["check"]


@dataclass(frozen=True, slots=True)
class _Finding:
    """What is found of a key. `works` is None where nobody was asked."""

    name: str
    works: bool | None
    words: str


@click.command()
@click.option("--offline", is_flag=True, help="Ask no provider: only the file, and whether secrets are set here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.keys
def check(offline: bool, as_json: bool, **given: Any) -> None:
    """Check the keys file, and try each key with a question that costs nothing. Needs no broker.

    Such a question doesn't tell whether an account has credit: `keyfleet keys probe NAME --model MODEL` does.

    Exit codes: 0 all is well, 1 a key doesn't work, 2 the file is wrong.
    """
    desk = KeysDesk.open()
    warnings = keys_warnings(desk.source.keys)
    findings = _findings(desk, offline)
    if as_json:
        click.echo(json.dumps({"warnings": warnings, "keys": [asdict(one) for one in findings]}, indent=2))
    else:
        click.echo(desk.source.description)
        for warning in warnings:
            click.echo(f"warning: {warning}")
        for one in findings:
            click.echo(f"{one.name}: {one.words}")
    sys.exit(1 if any(one.works is False for one in findings) else 0)


def _findings(desk: KeysDesk, offline: bool) -> list[_Finding]:
    bound = desk.bind()
    if offline:
        return [_without_asking(one) for one in bound]
    bindings = [one.binding for one in bound if isinstance(one.binding, KeyBinding)]
    verdicts = iter(ask_all(desk, bindings, ask_freely))
    findings = []
    for one in bound:
        if isinstance(one.binding, str):
            findings.append(_without_asking(one))
        else:
            verdict = next(verdicts)
            findings.append(_Finding(one.config.name, works(verdict), in_words(verdict)))
    return findings


def _without_asking(bound: Bound) -> _Finding:
    if isinstance(bound.binding, str):
        return _Finding(bound.config.name, False, bound.binding)
    return _Finding(bound.config.name, None, "its secret is set")
