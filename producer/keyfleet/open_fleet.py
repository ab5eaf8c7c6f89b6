"""Opening what a Fleet needs at its first use: keys, server, workers, and the desk of interactive calls."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyfleet.calls.desk import CallDesk
from keyfleet.config import (
    Environment,
    KeySource,
    Settings,
    check_broker_url,
    check_fleet,
    find_keys,
    parse_percentage,
    write_given_keys,
)
from keyfleet.errors import ConfigurationError
from keyfleet.jobs import keys_fleet
from keyfleet.ledger import queue_of
from keyfleet.running.backend import Backend, open_backend, worker_arguments
from keyfleet.running.fleet_status import FleetStatus
from keyfleet.running.fleet_watch import FleetWatch
from keyfleet.running.keys_follower import KeysFollower
from keyfleet.running.served_models import ServedModels

__all__ = ["FleetOptions", "GivenKeysType", "OpenFleet", "open_fleet", "settings_of"]

logger = logging.getLogger(__name__)

LOG_ID_CHARACTERS = 12
"""Length of the name of a log of workers."""

GivenKeysType = Sequence["str | Mapping[str, Any]"]
"""Keys in a program's own words: API keys, or mappings with the fields of a keys file."""


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """What a Fleet was made with. None: the environment's setting, or its default."""

    broker_url: str | None = field(default=None, repr=False)
    keys: str | Path | GivenKeysType | None = field(default=None, repr=False)
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
    desk: CallDesk
    watch: FleetWatch
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
        return self.desk.has_left_calls or self.has_left_jobs

    def status(self) -> FleetStatus:
        """How the workers stand."""
        return self.watch.status

    def follow_keys(self) -> None:
        """Workers follow the keys file by themselves; what is taken on follows with them. For one thread."""
        source = self.keys.look() if self.keys is not None else None
        if source is not None:
            self.served = ServedModels(source.keys, self.settings.use)
            self.desk.serve(self.served)

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
        "timeout_s": _positive("timeout_s", options.timeout_s),
        "concurrency": _positive("concurrency", options.concurrency),
        "max_attempts": _positive("max_attempts", options.max_attempts),
    }
    return Settings.from_environment(env).with_options(**given)


def open_fleet(options: FleetOptions, stack: ExitStack) -> OpenFleet:
    """Open a fleet; `stack` gives back what was opened. Raises ConfigurationError and BrokerUnavailable."""
    env, read_at_s = Environment.read(), time.time()
    settings = settings_of(options, env)
    source, variables = _keys(options, settings, env, stack)
    namespace = settings.fleet if source is None else keys_fleet(source, env.with_values(variables))
    backend = open_backend(settings, namespace, stack)
    opened = _new(backend, source, options, read_at_s, stack)
    if source is not None:
        arguments = worker_arguments(backend.settings, source)
        log_name = uuid.uuid4().hex[:LOG_ID_CHARACTERS]
        backend.start_workers(arguments, variables, log_name, stack, ends_at_once=lambda: opened.has_left)
    opened.desk.start()
    stack.callback(opened.desk.close)
    opened.watch.start()
    stack.callback(opened.watch.stop)
    return opened


def _new(
    backend: Backend, source: KeySource | None, options: FleetOptions, read_at_s: float, stack: ExitStack
) -> OpenFleet:
    """The fleet before anything of it runs. On a shared broker others may serve what its own keys don't."""
    keys = KeysFollower(source, read_at_s=read_at_s) if source is not None and backend.server is not None else None
    served = ServedModels(keys.source.keys, backend.settings.use) if keys is not None else None
    client, _ = backend.connect()
    stack.callback(client.close)
    watch = FleetWatch(client, backend.settings.fleet)
    desk = CallDesk(
        backend,
        served,
        lambda: watch.status,
        grace_s=backend.settings.no_key_grace_s,
        encoding_name=options.encoding_name,
        look=lambda: opened.follow_keys(),  # noqa: PLW0108 - it is only made below
    )
    opened = OpenFleet(backend, desk, watch, served, options.encoding_name, keys)
    return opened


def _keys(
    options: FleetOptions, settings: Settings, env: Environment, stack: ExitStack
) -> tuple[KeySource | None, dict[str, str]]:
    """The keys where workers are started here, and the variables that their secrets are in beside the environment's."""
    keys = options.keys
    starts_workers = options.workers
    if starts_workers is None:
        starts_workers = settings.broker_url is None or keys is not None
    if not starts_workers:
        if settings.broker_url is None:
            raise ConfigurationError(
                "workers=False needs a broker that running workers share; give broker_url or set KEYFLEET_BROKER_URL",
                setting="workers",
            )
        return None, {}
    if keys is not None and not isinstance(keys, (str, Path)):
        given = write_given_keys(keys, env, settings.state_dir / "keys")
        stack.callback(given.remove)
        source, variables = given.source, given.variables
    else:
        path = None if keys is None else Path(keys).expanduser()
        source, variables = find_keys(option_path=path, env=env, cwd=Path.cwd()), {}
    source.check_variables(env.with_values(variables))
    logger.info("%s", source.description)
    return source, variables


def _checked(name: str, text: str | None, check: Any) -> Any:
    if text is None:
        return None
    try:
        return check(text)
    except ValueError as error:
        problem = str(error)
    raise ConfigurationError(f"{name}: {problem}", setting=name)


def _positive(name: str, number: float | None) -> float | None:
    if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float)) or not number > 0):
        raise ConfigurationError(f"{name}: expected a number above 0", setting=name)
    return number
