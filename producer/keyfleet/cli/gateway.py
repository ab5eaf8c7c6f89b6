"""`keyfleet gateway`: OpenAI's API over HTTP, with all keys behind it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from keyfleet.cli import options
from keyfleet.cli.call_options import local_workers, max_attempts, timeout, token_encoding
from keyfleet.cli.service_exits import exit_where_the_broker_is_away
from keyfleet.config import Environment, Settings, parse_duration_s
from keyfleet.config.notation import parse_size_bytes
from keyfleet.errors import ConfigurationError
from keyfleet.logs import configure_logging

__all__ = ["gateway"]

_SETTINGS = ("broker_url", "fleet", "use", "concurrency", "log_level", "log_format", "max_attempts", "timeout_s")


def _body_bytes(text: str) -> int:
    size_bytes = parse_size_bytes(text)
    if size_bytes < 1:
        raise ValueError("expected a size of at least 1 byte")
    return size_bytes


@click.command(short_help="Serve OpenAI's API with all keys behind it.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, envvar="KEYFLEET_GATEWAY_HOST", help="Address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=8000,
    show_default=True,
    envvar="KEYFLEET_GATEWAY_PORT",
    help="Port; 0 takes a free one and prints it.",
)
@click.option(
    "--api-key-file",
    "api_key_files",
    type=click.Path(dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE",
    envvar="KEYFLEET_GATEWAY_API_KEY_FILE",
    help="File with API keys of the gateway's own, one a line; may be repeated. They may also stand in the "
    "environment, as KEYFLEET_GATEWAY_API_KEYS.",
)
@click.option(
    "--max-wait",
    "max_wait_s",
    metavar="TIME",
    envvar="KEYFLEET_GATEWAY_MAX_WAIT",
    callback=options.parsed(parse_duration_s),
    help="Longest wait of a call for its start, before it gets a 429 (default: 600s).",
)
@click.option(
    "--max-body",
    "max_body_bytes",
    metavar="SIZE",
    envvar="KEYFLEET_GATEWAY_MAX_BODY",
    callback=options.parsed(_body_bytes),
    help="Longest body of a request (default: 64MB).",
)
@click.option(
    "--max-connections",
    type=click.IntRange(min=1),
    envvar="KEYFLEET_GATEWAY_MAX_CONNECTIONS",
    help="Most connections at once (default: 4096).",
)
@click.option(
    "--grace",
    "grace_s",
    metavar="TIME",
    envvar="KEYFLEET_GATEWAY_GRACE",
    callback=options.parsed(parse_duration_s),
    help="How long calls under way may take when it is told to stop (default: 30s).",
)
@options.keys
@options.broker
@options.fleet
@options.use
@options.concurrency
@max_attempts
@timeout
@local_workers
@token_encoding
@options.log_level
@options.log_format
def gateway(**given: Any) -> None:
    """Serve OpenAI's API, streaming included, with all keys of the fleet behind it.

    Point a client's base URL at it, in any language. Calls wait for quota rather than fail; lists of prompts and inputs
    are spread over the keys. Without a broker it brings its own server and workers, as `keyfleet run` does.

    \b
      keyfleet gateway                                        for this machine alone
      keyfleet gateway --host 0.0.0.0 --api-key-file keys.txt for others, who send one of these keys

    Exit codes: 0 after SIGTERM or Ctrl-C, 2 usage or configuration, 69 no broker answers at the start,
    130 told twice to stop.
    """
    env = Environment.read()
    given = options.fill_from_dotenv(given, env)
    settings = Settings.from_environment(env).with_options(**{name: given[name] for name in _SETTINGS})
    configure_logging(settings.log_level, settings.log_format)
    sys.exit(_serve(given, settings, env))


def _serve(given: dict[str, Any], settings: Settings, env: Environment) -> int:
    try:
        from keyfleet.gateway import ApiKeys, GatewayTerms
        from keyfleet.gateway.serving import serve_gateway
    except ImportError as error:
        raise ConfigurationError(str(error)) from None
    from keyfleet.fleet import Fleet

    terms = ("max_wait_s", "max_body_bytes", "max_connections", "grace_s")
    starts_workers = given["use_local_workers"]
    fleet = Fleet(
        settings.broker_url,
        given["keys"],
        fleet=given["fleet"],
        workers=settings.broker_url is None if starts_workers is None else starts_workers,
        use=given["use"],
        concurrency=given["concurrency"],
        max_attempts=given["max_attempts"],
        timeout_s=given["timeout_s"],
        encoding_name=given["encoding_name"],
    )
    with exit_where_the_broker_is_away():
        return serve_gateway(
            fleet,
            ApiKeys.find(given["api_key_files"], env),
            given["host"],
            given["port"],
            GatewayTerms(**{name: given[name] for name in terms if given[name] is not None}),
        )
