"""`keyfleet demo`: the main job against a provider stand-in, without any API key."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import click
import yaml

from keyfleet.cli.run_job import run_job
from keyfleet.config import Environment, Settings
from keyfleet.running import RunOptions
from keyfleet.sim import SimConfig, SimKey, SimLatency, SimProcess, parse_limits

__all__ = ["demo"]

REQUESTS = 2000
"""Requests of the demo: with the limits below, about two and a half windows of ten seconds."""

KEYS: dict[str, dict[str, list[str]]] = {
    "large": {"requests": ["400/10 second"]},
    "medium": {"requests": ["300/10 second"], "tokens": ["10000/10 second"]},
    "small": {"requests": ["150/10 second"]},
}
"""Three made-up keys by name, with their limits; `medium` is held by its tokens."""

GUARD_MS = 250
"""Wider than usual, as provider, server and workers share one machine here, which may be a busy one (ms)."""

MAX_TOKENS = 20

TOPICS = ("rivers", "bridges", "clocks", "violins", "lighthouses", "glaciers", "maps", "bees")


@click.command()
@click.option("--requests", "count", type=click.IntRange(min=1), default=REQUESTS, show_default=True, help="How many.")
def demo(count: int) -> None:
    """Run a generated file through three made-up keys of different limits, against a provider stand-in.

    Needs no API key, no server and no network. At the end a table shows what each key did; none was rate limited.
    """
    with tempfile.TemporaryDirectory(prefix="keyfleet-demo-") as name, SimProcess(_sim_config()) as sim:
        directory = Path(name)
        source, keys_path = directory / "requests.jsonl", directory / "keys.yaml"
        _write_requests(source, count)
        _write_keys(keys_path, sim.base_url)
        env = Environment.read(cwd=directory)
        settings = replace(
            Settings.from_environment(env), broker_url=None, state_dir=directory / "state", guard_ms=GUARD_MS
        )
        click.echo(f"{count:,} requests, three keys, and a stand-in for the provider at {sim.base_url}", err=True)
        code = run_job(RunOptions(input_name=str(source), keys_path=keys_path), settings, env, names_output=False)
        refused = sim.stats()["over_limit"]
        click.echo(f"The stand-in saw {refused} requests over a limit.", err=True)
    sys.exit(code)


def _sim_config() -> SimConfig:
    keys = tuple(
        SimKey(name=name, api_key=f"sk-demo-{name}", limits=parse_limits(**limits)) for name, limits in KEYS.items()
    )
    return SimConfig(keys=keys, latency=SimLatency(latency_ms=150, jitter_ms=50))


def _write_keys(path: Path, base_url: str) -> None:
    keys = [
        {"name": name, "api_key": f"sk-demo-{name}", "base_url": f"{base_url}/v1", **limits}
        for name, limits in KEYS.items()
    ]
    path.write_text(yaml.safe_dump({"keys": keys}, sort_keys=False), encoding="utf-8")
    path.chmod(0o600)


def _write_requests(path: Path, count: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            question = f"Say one true thing about {TOPICS[number % len(TOPICS)]}, please. This is question {number}."
            body = {
                "model": "gpt-4o-mini",
                "messages": [{"role": "user", "content": question}],
                "max_tokens": MAX_TOKENS,
                "metadata": {"row": number},
            }
            file.write(json.dumps(body) + "\n")
