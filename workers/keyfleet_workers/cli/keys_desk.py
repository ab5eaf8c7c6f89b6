"""What the commands about keys work with: the configured keys with their secrets, and the server of their fleet."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import redis

from keyfleet.broker import check_server, connect
from keyfleet.cli import options
from keyfleet.config import Environment, KeyConfig, KeySource, Settings
from keyfleet.embedded import EmbeddedServer
from keyfleet.errors import BrokerUnavailable, ConfigurationError
from keyfleet.jobs import fleets_with_jobs
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.cli.keys_loader import KeysLoader
from keyfleet_workers.key_views import FleetView
from keyfleet_workers.provider import ProviderClient, Verdict
from keyfleet_workers.provider.client import ReadOnceEnvironment

__all__ = ["Bound", "KeysDesk", "ask_all", "open_fleet"]

MOST_ASKED_AT_ONCE = 8
"""Providers that are asked at the same time."""

_SETTINGS = ("broker_url", "fleet", "use")


@dataclass(frozen=True, slots=True)
class Bound:
    """A key with its secret, or with the reason why it has none here."""

    config: KeyConfig
    binding: KeyBinding | str


@dataclass(frozen=True, slots=True)
class KeysDesk:
    """The settings and keys under the options of the running command and its group."""

    settings: Settings
    source: KeySource
    env: Environment

    @classmethod
    def open(cls) -> KeysDesk:
        """Read them. Raises ConfigurationError."""
        context = click.get_current_context()
        given = options.fill_from_dotenv(dict(context.params), Environment.read())
        above = context.parent.params if context.parent is not None else {}

        def chosen(name: str) -> Any:
            return given.get(name) if given.get(name) is not None else above.get(name)

        path: Path | None = chosen("keys")
        loader = KeysLoader(path)
        source = loader.load()
        settings = Settings.from_environment(loader.env).with_options(**{name: chosen(name) for name in _SETTINGS})
        return cls(settings, source, loader.env)

    def bind(self, names: Sequence[str] = ()) -> list[Bound]:
        """The keys with these names, by default all, with their secrets. Raises ConfigurationError for other names."""
        known = {key.name: key for key in self.source.keys}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigurationError(f"no key is named so; configured are {', '.join(known)}", setting="NAME")
        return [Bound(config, self._bind(config)) for config in (known[name] for name in names or known)]

    def bind_all(self, names: Sequence[str]) -> list[tuple[KeyConfig, KeyBinding]]:
        """As `bind`, for what can't be done without secrets. Raises ConfigurationError for the first that isn't here.

        A key's state is kept under a mark of its secret, so that it holds for all names of the same account.
        """
        found = []
        for bound in self.bind(names):
            if isinstance(bound.binding, str):
                raise ConfigurationError(f"key {bound.config.name}: {bound.binding}; do this where its secret is set")
            found.append((bound.config, bound.binding))
        return found

    def _bind(self, config: KeyConfig) -> KeyBinding | str:
        unset = config.unset_variables(self.env)
        if unset:
            return f"not set here: {', '.join(unset)}"
        try:
            return KeyBinding.of(config, self.env, self.settings)
        except ConfigurationError as error:
            return str(error)

    def provider(self, binding: KeyBinding) -> ProviderClient:
        """The way to the key's provider."""
        return ProviderClient(
            binding,
            connect_timeout_s=self.settings.connect_timeout_s,
            environment=ReadOnceEnvironment.for_url(binding.base_url, os.environ),
        )


def ask_all(
    desk: KeysDesk, bindings: Sequence[KeyBinding], ask: Callable[[ProviderClient, KeyBinding], Verdict]
) -> list[Verdict]:
    """What the providers of these keys say, several at the same time."""

    def one(binding: KeyBinding) -> Verdict:
        client = desk.provider(binding)
        try:
            return ask(client, binding)
        finally:
            client.close()

    with ThreadPoolExecutor(MOST_ASKED_AT_ONCE, thread_name_prefix="keyfleet-ask") as executor:
        return list(executor.map(one, bindings))


@contextmanager
def open_fleet(settings: Settings) -> Iterator[FleetView]:
    """The fleet on the shared broker, or those of all runs on the embedded server, which is started if need be.

    Raises BrokerUnavailable.
    """
    with ExitStack() as stack:
        url = settings.broker_url or stack.enter_context(EmbeddedServer(settings.state_dir)).url
        client = connect(url)
        stack.callback(client.close)
        check_server(client, url)
        try:
            fleets = [settings.fleet] if settings.broker_url else fleets_with_jobs(client)
            yield FleetView(client, fleets, socket.gethostname())
        except redis.RedisError as error:
            raise BrokerUnavailable(f"the broker stopped answering ({type(error).__name__})") from None
