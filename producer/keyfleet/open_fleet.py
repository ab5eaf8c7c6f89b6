"""Opening what a Fleet needs at its first use: keys, server, workers, and the desks of interactive calls."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from keyfleet.calls import CallDesk, is_duration
from keyfleet.calls.desks import CallDesks
from keyfleet.config import (
    Environment,
    Settings,
    check_broker_url,
    check_fleet,
    parse_percentage,
)
from keyfleet.errors import ConfigurationError
from keyfleet.fleet_keys import FleetKeys, KeysArgument, find_fleet_keys
from keyfleet.fleet_models import FleetModels
from keyfleet.ledger import queue_of
from keyfleet.running.backend import Backend, open_backend, worker_arguments
from keyfleet.running.fleet_status import FleetStatus
from keyfleet.running.fleet_watch import FleetWatch
from keyfleet.running.keys_follower import KeysFollower
from keyfleet.running.served_models import ServedModels

__all__ = ["FleetOptions", "OpenFleet", "open_fleet", "settings_of"]

logger = logging.getLogger(__name__)

LOG_ID_CHARACTERS = 12
"""Length of the name of a log of workers."""


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What a Fleet was made with. None: the environment's setting, or its default."""

    broker_url: str | None = field(default=None, repr=False)
    keys: KeysArgument | None = field(default=None, repr=False)
    fleet: str | None = None
    workers: bool | None = None
    use: float | str | None = None
    concurrency: int | None = None
    max_attempts: int | None = None
    timeout_s: float | None = None
    encoding_name: str | None = None


@dataclass(slots=True)
class OpenFleet:
    """A fleet in use. `served` is what its keys can do now; None where the workers, and so the keys, are others'
    business."""

    backend: Backend
    desks: CallDesks
    watch: FleetWatch
    models: FleetModels
    served: ServedModels | None
    encoding_name: str | None
    keys: KeysFollower | None
    has_left_jobs: bool = False
    """Whether whoever closed it did not wait for the calls of its jobs."""

    @property
    def settings(self) -> Settings:
        """With the broker and the fleet as they were found."""
        return self.backend.settings

    @property
    def has_left(self) -> bool:
        """Whether nobody waits for calls in flight any more."""
        return self.desks.has_left_calls or self.has_left_jobs

    def status(self) -> FleetStatus:
        """How the workers stand."""
        return self.watch.status

    def follow_keys(self) -> None:
        """Workers follow the keys file by themselves; what is taken on follows with them. For one thread."""
        source = self.keys.look() if self.keys is not None else None
        if source is not None:
            self.served = ServedModels(source.keys, self.settings.use)
            self.desks.serve(self.served)

    def lanes(self, model: str) -> int:
        """How many keys serve `model` now, at least 1."""
        if self.served is not None:
            return max(1, self.served.count(model))
        return max(1, self.watch.status.serving(queue_of(model)))


def settings_of(options: FleetOptions, env: Environment) -> Settings:
    """The environment's settings under the options. Raises ConfigurationError that names the argument."""
    given: dict[str, Any] = {
        "broker_url": _checked("broker_url", options.broker_url, check_broker_url),
        "fleet": _checked("fleet", options.fleet, check_fleet),
        "use": _checked("use", None if options.use is None else str(options.use), parse_percentage),
        "timeout_s": _seconds("timeout_s", options.timeout_s),
        "concurrency": _count("concurrency", options.concurrency),
        "max_attempts": _count("max_attempts", options.max_attempts),
    }
    return Settings.from_environment(env).with_options(**given)


def open_fleet(options: FleetOptions, stack: ExitStack) -> OpenFleet:
    """Open a fleet; `stack` gives back what was opened. Raises ConfigurationError and BrokerUnavailable."""
    env, read_at_s = Environment.read(), time.time()
    settings = settings_of(options, env)
    keys = find_fleet_keys(options.keys, settings, env, stack) if _starts_workers(options, settings) else None
    backend = open_backend(settings, keys.fleet if keys is not None else settings.fleet, stack)
    opened = _new(backend, keys, options, read_at_s, stack)
    if keys is not None:
        logger.info("%s", keys.source.description)
        arguments = worker_arguments(backend.settings, keys.source)
        log_name = uuid.uuid4().hex[:LOG_ID_CHARACTERS]
        backend.start_workers(arguments, keys.variables, log_name, stack, ends_at_once=lambda: opened.has_left)
    stack.callback(opened.desks.close)
    opened.desks.own.start()
    opened.watch.start()
    stack.callback(opened.watch.stop)
    return opened


def _new(
    backend: Backend, own_keys: FleetKeys | None, options: FleetOptions, read_at_s: float, stack: ExitStack
) -> OpenFleet:
    """The fleet before anything of it runs. On a shared broker others may serve what its own keys don't."""
    is_alone = own_keys is not None and backend.server is not None
    keys = KeysFollower(own_keys.source, read_at_s=read_at_s) if own_keys is not None and is_alone else None
    served = ServedModels(keys.source.keys, backend.settings.use) if keys is not None else None
    client, _ = backend.connect()
    stack.callback(client.close)
    watch = FleetWatch(client, backend.settings.fleet)
    own = own_keys.source.keys if own_keys is not None else ()
    models = FleetModels(backend.connect()[0], backend.settings.fleet, own)
    stack.callback(models.close)

    def make_desk(name: str) -> CallDesk:
        return CallDesk(
            backend,
            served,
            lambda: watch.known,
            name=name,
            grace_s=backend.settings.no_key_grace_s,
            encoding_name=options.encoding_name,
            look=_nothing if name else lambda: opened.follow_keys(),  # noqa: PLW0108 - it is only made below
        )

    opened = OpenFleet(backend, CallDesks(make_desk), watch, models, served, options.encoding_name, keys)
    return opened


def _nothing() -> None:
    """Keys are followed by one desk."""


def _starts_workers(options: FleetOptions, settings: Settings) -> bool:
    starts = options.workers
    if starts is None:
        starts = settings.broker_url is None or options.keys is not None
    if not starts and settings.broker_url is None:
        raise ConfigurationError(
            "workers=False needs a broker that running workers share; give broker_url or set KEYFLEET_BROKER_URL",
            setting="workers",
        )
    return starts


def _checked(name: str, text: str | None, check: Any) -> Any:
    if text is None:
        return None
    try:
        return check(text)
    except ValueError as error:
        problem = str(error)
    raise ConfigurationError(f"{name}: {problem}", setting=name)


def _seconds(name: str, duration_s: float | None) -> float | None:
    if duration_s is not None and not is_duration(duration_s):
        raise ConfigurationError(f"{name}: expected a number of seconds above 0", setting=name)
    return duration_s


def _count(name: str, number: int | None) -> int | None:
    if number is not None and (type(number) is not int or number < 1):
        raise ConfigurationError(f"{name}: expected a whole number above 0", setting=name)
    return number
