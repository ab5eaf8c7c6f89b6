"""`keyfleet gateway` as a process of its own, with its own server and workers, before a stand-in."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from keyfleet.sim import SimConfig, SimKey, SimLatency, SimLimit, SimProcess
from support.commands import Command
from support.events import wait_until
from support.place import Place

__all__ = ["API_KEY", "KEY_NAMES", "GatewayProcess", "gateway_process", "listening"]

API_KEY = "gateway-key-1"
KEY_NAMES = ("first", "second")

TOKEN_INTERVAL_MS = 10
"""Pace of the stand-in's streams."""


@dataclass(frozen=True)
class GatewayProcess:
    """A gateway that is ready for calls."""

    place: Place
    sim: SimProcess
    command: Command
    base_url: str


def listening(command: Command) -> str:
    """The base URL of a gateway, once it listens."""

    def found() -> list[str]:
        assert command.code is None, command.stderr
        return re.findall(r"listening on (\S+) ", command.stdout)

    return wait_until(found, "the gateway listens")[0]


@contextmanager
def gateway_process(
    directory: Path, models: Mapping[str, Sequence[SimLimit]], *options: str
) -> Iterator[GatewayProcess]:
    """A gateway with two keys that serve `models`, each with limits of its own."""
    pools = {pattern: tuple(limits) for pattern, limits in models.items()}
    keys = tuple(SimKey(name=name, api_key=f"sk-of-{name}", models=pools) for name in KEY_NAMES)
    place = Place(directory, {"KEYFLEET_GATEWAY_API_KEYS": API_KEY})
    config = SimConfig(keys=keys, latency=SimLatency(token_interval_ms=TOKEN_INTERVAL_MS))
    with SimProcess(config) as sim:
        try:
            place.write_keys(sim, keys, models={pattern: _as_written(limits) for pattern, limits in pools.items()})
            command = place.start("gateway", "--port", "0", *options)
            base_url = listening(command)
            wait_until(lambda: _is_ready(base_url), "the gateway is ready")
            yield GatewayProcess(place, sim, command, base_url)
        finally:
            place.close()


def _as_written(limits: Sequence[SimLimit]) -> dict[str, list[str]]:
    """Limits as a keys file has them."""
    written: dict[str, list[str]] = {}
    for limit in limits:
        written.setdefault(limit.of, []).append(f"{limit.amount}/{limit.window_s:g} second")
    return written


def _is_ready(base_url: str) -> bool:
    try:
        with urllib.request.urlopen(base_url.removesuffix("/v1") + "/readyz"):
            return True
    except urllib.error.HTTPError as not_ready:
        not_ready.close()
        return False
