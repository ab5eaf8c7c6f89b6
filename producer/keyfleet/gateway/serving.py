"""From a fleet and the gateway's settings to a server that runs, for whichever command starts one."""

from __future__ import annotations

from typing import cast

import click

from keyfleet.errors import ConfigurationError
from keyfleet.fleet import Fleet
from keyfleet.gateway.api_keys import VARIABLE, ApiKeys
from keyfleet.gateway.app import Gateway
from keyfleet.gateway.server import GatewayServer, base_url_of, bind, is_loopback
from keyfleet.gateway.serving_fleet import ServingFleet
from keyfleet.gateway.terms import GatewayTerms

__all__ = ["serve_gateway"]


def serve_gateway(fleet: Fleet, api_keys: ApiKeys, host: str, port: int, terms: GatewayTerms) -> int:
    """Open the fleet, serve until a signal comes, and close the fleet; returns the exit code. Main thread only.

    Raises ConfigurationError for an address that can't be had, or that others can reach though no API key is asked
    for; and what opening the fleet raises.
    """
    if not len(api_keys) and not is_loopback(host):
        raise ConfigurationError(
            f"--host: {host} can be reached from elsewhere, and anybody there could spend with your keys; "
            f"give API keys of the gateway's own with --api-key-file FILE or {VARIABLE}, or listen on 127.0.0.1",
            setting="--host",
        )
    with bind(host, port) as listener, fleet:
        base_url = base_url_of(listener)

        def say_listening() -> None:
            click.echo(f"gateway: listening on {base_url} (API keys: {len(api_keys) or 'none'})")
            if not len(api_keys):
                click.echo(
                    "gateway: anybody on this machine may use it, as no API key is asked for; see --api-key-file",
                    err=True,
                )

        gateway = Gateway(cast("ServingFleet", fleet), api_keys, terms)
        server = GatewayServer(gateway, terms, close_fleet=fleet.close, on_listening=say_listening)
        return server.serve_on(listener)
