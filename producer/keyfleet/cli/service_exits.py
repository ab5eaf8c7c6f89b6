"""The exit code by which a command that a service manager runs asks to be started again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from keyfleet.errors import BrokerUnavailable

__all__ = ["BROKER_AWAY_EXIT", "exit_where_the_broker_is_away"]

BROKER_AWAY_EXIT = 69
"""No broker answers, which passes without anybody's doing (EX_UNAVAILABLE of sysexits.h); 2 is for what doesn't."""


@contextmanager
def exit_where_the_broker_is_away() -> Iterator[None]:
    """End with BROKER_AWAY_EXIT and one line, should what is done here raise BrokerUnavailable."""
    try:
        yield
    except BrokerUnavailable as error:
        click.echo(f"keyfleet: {error}", err=True)
        sys.exit(BROKER_AWAY_EXIT)
