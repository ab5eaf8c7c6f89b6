"""openai-manager's server: `python -m keyfleet.openai_manager.serving --port 8000 --host localhost --api_key KEY`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from keyfleet.config import Environment
from keyfleet.errors import ConfigurationError, KeyfleetError
from keyfleet.openai_manager.session import SESSION, append_auth_from_config

__all__ = ["serving"]

USAGE_EXIT = 2
"""Exit code of a wrong option or setting, as of `keyfleet`."""


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="Port; 0: a free one.")
@click.option("--host", default="localhost", show_default=True, help="Address to listen on.")
@click.option("--api_key", "--api-key", metavar="KEY", help="The key that clients have to send.")
@click.option(
    "--custom_config",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="openai-manager's YAML file with keys, beside those of the environment.",
)
@click.option("--reload", is_flag=True, hidden=True, help="Accepted without meaning.")
def serving(port: int, host: str, api_key: str | None, custom_config: Path | None, reload: bool) -> None:
    """Serve OpenAI's API with openai-manager's keys behind it, as `keyfleet gateway` does with a keys file."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    try:
        code = _serve(port, host, api_key, custom_config)
    except KeyfleetError as error:
        click.echo(f"serving: {error}", err=True)
        code = USAGE_EXIT
    sys.exit(code)


def _serve(port: int, host: str, api_key: str | None, custom_config: Path | None) -> int:
    try:
        from keyfleet.gateway import ApiKeys, GatewayTerms
        from keyfleet.gateway.api_keys import VARIABLE
        from keyfleet.gateway.serving import serve_gateway
    except ImportError as error:
        raise ConfigurationError(str(error)) from None
    if api_key is not None:
        click.echo(
            f"serving: every process of this machine can read --api_key in the list of processes; {VARIABLE} hides it",
            err=True,
        )
    if custom_config is not None:
        append_auth_from_config(config_path=custom_config)
    keys = ApiKeys.find((), Environment.read(), () if api_key is None else (api_key,))
    return serve_gateway(SESSION.fleet(), keys, host, port, GatewayTerms())


if __name__ == "__main__":
    serving()
