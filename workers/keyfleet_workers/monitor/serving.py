"""From terms to a Flower that runs."""

from __future__ import annotations

import asyncio

import click
from tornado.ioloop import IOLoop

from keyfleet_workers.monitor.application import FlowerTerms, GuardedFlower

__all__ = ["serve_flower"]


def serve_flower(terms: FlowerTerms, address: str, port: int) -> None:
    """Serve until a signal comes. Main thread only. Raises ConfigurationError for an address that can't be had."""
    asyncio.set_event_loop(asyncio.new_event_loop())
    application = GuardedFlower(terms, IOLoop.current())
    found = application.listen_on(address, port)
    host = f"[{address}]" if ":" in address else address
    click.echo(f"flower: listening on http://{host}:{found}{application.prefix}/keys (users: {_users(terms)})")
    application.serve()


def _users(terms: FlowerTerms) -> str:
    if len(terms.credentials):
        return str(len(terms.credentials))
    return "anybody on this machine; see --basic-auth-file"
