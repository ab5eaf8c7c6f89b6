"""`keyfleet flower`: the fleet in a browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyfleet.cli import options
from keyfleet.config import Environment, Settings
from keyfleet.errors import ConfigurationError
from keyfleet.logs import configure_logging

if TYPE_CHECKING:
    from keyfleet_workers.monitor.credentials import Credentials

__all__ = ["flower"]

_SETTINGS = ("broker_url", "fleet", "log_level", "log_format")

_PREFIX = re.compile(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*")


def _prefix(text: str) -> str:
    found = text.strip("/")
    if found and not _PREFIX.fullmatch(found):
        raise ValueError("expected a path of letters, digits, `.`, `_`, `~` and `-`, such as /flower")
    return found


@click.command(short_help="See the fleet in a browser: keys, limits, queues, jobs.")
@options.broker
@options.fleet
@click.option(
    "--address", default="127.0.0.1", show_default=True, envvar="KEYFLEET_FLOWER_ADDRESS", help="Address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=5555,
    show_default=True,
    envvar="KEYFLEET_FLOWER_PORT",
    help="Port; 0 takes a free one and prints it.",
)
@click.option(
    "--basic-auth-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    envvar="KEYFLEET_FLOWER_BASIC_AUTH_FILE",
    help="File with those who may use it, a line user:password for each. They may also stand in the environment, as "
    "KEYFLEET_FLOWER_BASIC_AUTH.",
)
@click.option(
    "--read-only/--no-read-only",
    default=None,
    envvar="KEYFLEET_FLOWER_READ_ONLY",
    help="Only show: nobody can disable keys, cancel jobs or stop workers there (default: no).",
)
@click.option(
    "--max-tasks",
    type=click.IntRange(min=1),
    envvar="KEYFLEET_FLOWER_MAX_TASKS",
    help="Chunks that are kept in memory and shown (default: 10000).",
)
@click.option(
    "--url-prefix",
    metavar="PATH",
    envvar="KEYFLEET_FLOWER_URL_PREFIX",
    callback=options.parsed(_prefix),
    help="Path that it stands under, behind a proxy, e.g. /flower.",
)
@options.log_level
@options.log_format
def flower(**given: Any) -> None:
    """Serve Flower, Celery's dashboard, for the fleet on a broker, with a page for keys, queues and jobs at /keys.

    It needs the broker's URL and no key's secret. Elsewhere than on this machine alone, and with --url-prefix, which
    is for proxies, it asks for a user and a password: those of --basic-auth-file, else one that is made up and printed.

    \b
      keyfleet flower --broker redis://host:6379/0                      for this machine alone
      keyfleet flower --address 0.0.0.0 --basic-auth-file users.txt     for others

    Exit codes: 0 after SIGTERM or Ctrl-C, 2 usage or configuration.
    """
    env = Environment.read()
    given = options.fill_from_dotenv(given, env)
    settings = Settings.from_environment(env).with_options(**{name: given[name] for name in _SETTINGS})
    if settings.broker_url is None:
        raise click.UsageError("it watches the fleet on a broker: give --broker or KEYFLEET_BROKER_URL")
    configure_logging(settings.log_level, settings.log_format)
    _serve(given, settings, settings.broker_url, env)


def _serve(given: dict[str, Any], settings: Settings, broker_url: str, env: Environment) -> None:
    try:
        from keyfleet_workers.monitor import required  # noqa: F401 - it says what is missing
    except ImportError as error:
        raise ConfigurationError(str(error)) from None
    from keyfleet_workers.monitor.application import DEFAULT_MAX_TASKS, FlowerTerms
    from keyfleet_workers.monitor.serving import serve_flower

    terms = FlowerTerms(
        broker_url=broker_url,
        fleet=settings.fleet,
        credentials=_credentials(given, env),
        read_only=bool(given["read_only"]),
        max_tasks=given["max_tasks"] or DEFAULT_MAX_TASKS,
        url_prefix=given["url_prefix"] or "",
    )
    serve_flower(terms, given["address"], given["port"])


def _credentials(given: dict[str, Any], env: Environment) -> Credentials:
    """Those that are configured; outside of this machine, and behind a proxy, there are always some."""
    from keyfleet_workers.monitor.credentials import Credentials
    from keyfleet_workers.monitor.gate import is_loopback

    found = Credentials.find(given["basic_auth_file"], env)
    if len(found) or (is_loopback(given["address"]) and not given["url_prefix"]):
        return found
    made_up = Credentials.made_up()
    user, _, password = made_up.pairs()[0].partition(":")
    click.echo(
        f"flower: user {user}, password {password} (made up for this run; --basic-auth-file sets others)", err=True
    )
    return made_up
