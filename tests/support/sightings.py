"""What a client of the gateway sees: scenarios that are run one by one, and what each of them found.

A program of a client runs those that its arguments name and prints a JSON object: `client` is its release, `seen` what
each scenario found (null where the client has no such call), `failed` the traceback of those that failed. GATEWAY_URL
and GATEWAY_KEY lead to the gateway, SIM_URL to the stand-in behind it; QUOTA_MODEL is a model of the client's own, of
which each key may send one call in a few seconds.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "CHAT_MODEL",
    "EMBEDDING_MODEL",
    "INPUTS",
    "PROMPTS",
    "SCARCE_MODEL",
    "TEXT_MODEL",
    "TIMEOUT_S",
    "WORDS",
    "Scenario",
    "in_flight",
    "print_sightings",
    "sightings",
]

CHAT_MODEL, TEXT_MODEL, EMBEDDING_MODEL = "gpt-4o-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small"

SCARCE_MODEL = "scarce"
"""A model whose quota is used up."""

WORDS = "one two three four five"
"""What the stand-in is to repeat, a word at a time where it streams."""

PROMPTS = ("one", "two", [7, 8, 9], "four")
INPUTS = tuple(f"text {number}" for number in range(7))

TIMEOUT_S = 1.0
"""Patience of a client that gives up (s): time enough for a call to reach the provider."""

Scenario = Callable[[], Any]


def in_flight() -> int:
    """How many calls are at the provider."""
    with urllib.request.urlopen(f"{os.environ['SIM_URL']}/sim/stats") as answer:
        count: int = json.load(answer)["in_flight"]
    return count


def sightings(client: str, scenarios: Sequence[Scenario], wanted: Sequence[str]) -> dict[str, Any]:
    """Run those that are wanted, in their order."""
    known = {scenario.__name__: scenario for scenario in scenarios}
    seen: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name in wanted:
        try:
            seen[name] = known[name]() if name in known else None
        except Exception:
            failed[name] = traceback.format_exc()
    return {"client": client, "seen": seen, "failed": failed}


def print_sightings(client: str, scenarios: Sequence[Scenario]) -> None:
    """The end of a program."""
    json.dump(sightings(client, scenarios, sys.argv[1:]), sys.stdout)
