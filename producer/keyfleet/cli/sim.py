"""`keyfleet sim`: the provider stand-in in the foreground."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keyfleet.errors import ConfigurationError

if TYPE_CHECKING:
    from keyfleet.sim import SimConfig
    from keyfleet.sim.config import Kind

__all__ = ["sim"]

_KINDS = ("sliding", "token_bucket", "fixed")
_LINE_READ_BYTES = 65_536


@click.command(short_help="Run a provider stand-in that enforces rate limits and injects faults.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, show_envvar=True, envvar="KEYFLEET_SIM_HOST", help="Address."
)
@click.option(
    "--port",
    default=8787,
    type=click.IntRange(0, 65_535),
    show_default=True,
    show_envvar=True,
    envvar="KEYFLEET_SIM_PORT",
    help="Port; 0 takes a free one and prints it.",
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    show_envvar=True,
    envvar="KEYFLEET_SIM_CONFIG",
    help="YAML file with keys, limits, latency, answers and faults.",
)
@click.option(
    "--key",
    "keys",
    multiple=True,
    show_envvar=True,
    envvar="KEYFLEET_SIM_KEY",
    help="A made-up key that is accepted (never a real one); may be repeated. Without it any key is.",
)
@click.option(
    "--requests-per-minute",
    type=click.IntRange(1),
    show_envvar=True,
    envvar="KEYFLEET_SIM_REQUESTS_PER_MINUTE",
    help="Limit of each key; default: none.",
)
@click.option(
    "--tokens-per-minute",
    type=click.IntRange(1),
    show_envvar=True,
    envvar="KEYFLEET_SIM_TOKENS_PER_MINUTE",
    help="Limit of each key; default: none.",
)
@click.option(
    "--latency-ms",
    type=click.FloatRange(0),
    show_envvar=True,
    envvar="KEYFLEET_SIM_LATENCY_MS",
    help="How long each answer takes; default: 0, or what the file says.",
)
@click.option(
    "--first-token-ms",
    type=click.FloatRange(0),
    show_envvar=True,
    envvar="KEYFLEET_SIM_FIRST_TOKEN_MS",
    help="How long the first token of a streamed answer takes; default: as long as an answer, or what the file says.",
)
@click.option(
    "--token-interval-ms",
    type=click.FloatRange(0),
    show_envvar=True,
    envvar="KEYFLEET_SIM_TOKEN_INTERVAL_MS",
    help="Time from one token of a streamed answer to the next; default: 0, or what the file says.",
)
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    show_envvar=True,
    envvar="KEYFLEET_SIM_KIND",
    help="How limits are enforced: exact sliding windows (the default), OpenAI's token bucket, Azure's fixed windows.",
)
@click.option("--config-from-parent", is_flag=True, hidden=True)
def sim(
    host: str,
    port: int,
    config_path: Path | None,
    keys: tuple[str, ...],
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    latency_ms: float | None,
    first_token_ms: float | None,
    token_interval_ms: float | None,
    kind: Kind | None,
    config_from_parent: bool,
) -> None:
    """Run a provider stand-in.

    It answers /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses, /v1/moderations,
    /v1/images/generations and /v1/models in OpenAI's shapes, and enforces the limits of each key with the real headers
    and error bodies. Chats, completions and responses are streamed where a request says so. It costs nothing and needs
    no network: point a client's base URL at it.

    GET /sim/stats tells what it saw (requests over a limit, requests sent twice, peaks of every window), GET
    /sim/requests the last requests, POST /sim/reset begins anew, POST /sim/keys/NAME with {"behaviour": "revoked"}
    revokes a key (NAME "*": all of them; also "out_of_credit", "outage", "ok"). A prompt that holds [[sim:500]],
    [[sim:429]], [[sim:hang]] or another fault meets that fault, with all that share its call; [[sim:500x2]] the first
    two times. [[sim:break_off]], [[sim:stream_error]] and [[sim:stall]] strike in the middle of a stream. In a file,
    images limits the images of a key, break_after_tokens says after how many tokens a stream is struck, max_inputs
    bounds the texts of one call, and track_inputs tells texts that were sent twice apart in place of whole requests.
    """
    from keyfleet.sim import serve_forever  # imported late: the other commands don't need a server

    try:
        if config_from_parent:
            config = _config_from_parent()
        elif config_path is not None:
            config = _config_from_file(config_path, bool(keys or requests_per_minute or tokens_per_minute))
        else:
            config = _config_from_options(keys, requests_per_minute, tokens_per_minute)
        times_ms = {
            "latency_ms": latency_ms,
            "first_token_ms": first_token_ms,
            "token_interval_ms": token_interval_ms,
        }
        config = _adjusted(config, times_ms, kind)
        serve_forever(config, host, port, on_ready=_announce, until_stdin_closes=config_from_parent)
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from None


def _announce(base_url: str) -> None:
    """One line; `SimProcess` reads the address, which stands in it as a word, from there."""
    click.echo(f"sim: listening on {base_url} (API under /v1, counts at {base_url}/sim/stats)")


def _config_from_file(path: Path, has_key_options: bool) -> SimConfig:
    from keyfleet.sim import load_sim_config

    if has_key_options:
        raise click.UsageError(
            "--key, --requests-per-minute and --tokens-per-minute don't go with --config: keys and their limits stand "
            "in the file"
        )
    return load_sim_config(path)


def _config_from_options(
    keys: tuple[str, ...], requests_per_minute: int | None, tokens_per_minute: int | None
) -> SimConfig:
    from keyfleet.sim import SimConfig, SimKey, parse_limits

    limits = parse_limits(
        requests=[f"{requests_per_minute}/minute"] if requests_per_minute else [],
        tokens=[f"{tokens_per_minute}/minute"] if tokens_per_minute else [],
    )
    known = tuple(SimKey(name=f"key-{number}", api_key=key, limits=limits) for number, key in enumerate(keys, 1))
    return SimConfig(keys=known, accept_any_key=not keys, default_limits=limits)


def _config_from_parent() -> SimConfig:
    """One line of JSON on standard input, read without buffering, since the rest of it is watched for its end."""
    from keyfleet.sim import config_from_document

    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(0, _LINE_READ_BYTES)
        if not piece:
            raise ConfigurationError("--config-from-parent: standard input ended before the configuration")
        line += piece
    return config_from_document(json.loads(line))


def _adjusted(config: SimConfig, times_ms: dict[str, float | None], kind: Kind | None) -> SimConfig:
    """What stands on the command line goes before the file, save for the kind of a key that has its own."""
    given_ms = {name: time_ms for name, time_ms in times_ms.items() if time_ms is not None}
    config = dataclasses.replace(config, latency=dataclasses.replace(config.latency, **given_ms))
    return config if kind is None else dataclasses.replace(config, kind=kind)


if __name__ == "__main__":
    sim()
