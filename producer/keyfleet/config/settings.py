"""The settings that don't belong to one key, as one frozen object that is read once and passed in."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from keyfleet.config.environment import Environment
from keyfleet.config.notation import parse_size_bytes
from keyfleet.errors import ConfigurationError
from keyfleet.logs import parse_log_format

__all__ = ["Settings", "check_broker_url", "check_fleet", "parse_log_level"]

DEFAULT_LEASE_S = 30.0
"""A worker that says nothing for this long is taken for dead; leases are renewed three times in it."""

MIN_LEASE_S = 1.0
"""Below this a pause of the interpreter or of Redis looks like a dead worker."""

DEFAULT_TIMEOUT_S = 600.0
"""Read timeout of a call: long answers of slow models take minutes."""

DEFAULT_SHUTDOWN_TIMEOUT_S = 60.0
"""How long a worker that was told to stop finishes calls under way; Docker, if not told otherwise, kills at 10 s."""

DEFAULT_CONNECT_TIMEOUT_S = 10.0
"""A provider or proxy that takes no connection within this is taken as unreachable."""

DEFAULT_GUARD_MS = 100
DEFAULT_GUARD_SHARE = 0.0025
"""Each window is widened by the larger of 100 ms and 0.25 % of itself, against jitter on the way to the provider."""

DEFAULT_KEEP_JOBS_S = 7 * 86_400.0
"""How long the record of a done job stays for `keyfleet jobs`."""

DEFAULT_OUTCOME_TTL_S = 7 * 86_400.0
"""A job whose producer was not seen for so long is removed, with the outcomes that nobody collected."""

DEFAULT_MIN_FREE_DISK_BYTES = 100_000_000
"""Below this much free space nothing more is fed: what is under way still has to be written."""

DEFAULT_NO_KEY_GRACE_S = 10.0
"""How long an interactive call waits for a worker whose key serves its model: hosts are restarted."""

DEFAULT_PACK_INPUTS = 2048
"""Most requests that share a call, where a job asks for that; fewer where the endpoint takes fewer."""

DEFAULT_METRICS_ADDRESS = "127.0.0.1"
"""Metrics name keys and models, so they are for this machine alone unless somebody says otherwise."""

HIGHEST_PORT = 65_535

_FLEET = re.compile(r"[A-Za-z0-9_-]{1,40}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting with its default. Durations are in seconds, shares between 0 and 1.

    What stands under a field goes into `docs/configuration.md`; of the others their options' help does.

    `broker_url` None means the embedded server. It may hold a password, so it is left out of `repr`; messages show it
    through `redact_url`. Where it has none, it gets the one that the file at `broker_password_path` holds, which raises
    ConfigurationError where there is no such file. `concurrency` bounds the calls under way of each key (None: as many
    as it takes, within reason), `max_calls` those of all keys that one `run` starts workers for (None: no bound). `use`
    is the share of every limit that this fleet may use. `workers_per_key` is how many workers may lease one key (None:
    as many as the key says). `log_level` is a number as in `logging`, `log_format` is `text` or `json`. Metrics are
    served at `metrics_address`, unless `metrics_port` is None; 0 takes a free port. `give_up_after_s` None waits for
    ever. `pack` lets requests that differ in their text alone share calls, up to `pack_inputs` each.
    """

    state_dir: Path
    """Where the embedded server and jobs of programs keep their data (default: `keyfleet` in `XDG_STATE_HOME`, else in
    `~/.local/state`)."""
    broker_url: str | None = field(default=None, repr=False)
    broker_password_path: Path | None = None
    """File that holds the broker's password, where its address has none (default: none)."""
    fleet: str = "main"
    keys_path: Path | None = None
    lease_s: float = DEFAULT_LEASE_S
    """A worker that says nothing for so long counts as dead."""
    log_level: int = logging.WARNING
    log_format: str = "text"
    metrics_port: int | None = None
    metrics_address: str = DEFAULT_METRICS_ADDRESS
    use: float = 1.0
    max_attempts: int = 5
    timeout_s: float = DEFAULT_TIMEOUT_S
    connect_timeout_s: float = DEFAULT_CONNECT_TIMEOUT_S
    """Longest wait for a connection to a provider or proxy."""
    timeout_attempts: int = 2
    concurrency: int | None = None
    workers_per_key: int | None = None
    shutdown_timeout_s: float = DEFAULT_SHUTDOWN_TIMEOUT_S
    max_calls: int | None = None
    """Most calls of all keys that one `run` starts workers for (default: none)."""
    guard_ms: int = DEFAULT_GUARD_MS
    """Each window of a limit is wider by so much, or by `KEYFLEET_GUARD_SHARE` where that is more."""
    guard_share: float = DEFAULT_GUARD_SHARE
    """Each window of a limit is wider by this share, or by `KEYFLEET_GUARD_MS` where that is more."""
    give_up_after_s: float | None = None
    no_key_grace_s: float = DEFAULT_NO_KEY_GRACE_S
    """How long an interactive call waits for a worker whose key serves its model."""
    keep_jobs_s: float = DEFAULT_KEEP_JOBS_S
    """How long the record of a done job stays, and the files of one that a program has submitted."""
    outcome_ttl_s: float = DEFAULT_OUTCOME_TTL_S
    """A job whose producer was not seen for so long is removed, with the outcomes that nobody collected."""
    min_free_disk_bytes: int = DEFAULT_MIN_FREE_DISK_BYTES
    """Below so much free space, where results or the state are written, nothing more is fed."""
    workers: bool = True
    ordered: bool = False
    progress: bool = True
    stop_early: bool = True
    pack: bool = False
    pack_inputs: int = DEFAULT_PACK_INPUTS

    def __post_init__(self) -> None:
        if self.broker_url is not None and self.broker_password_path is not None:
            object.__setattr__(self, "broker_url", _with_password(self.broker_url, self.broker_password_path))

    @classmethod
    def from_environment(cls, env: Environment) -> Settings:
        """`KEYFLEET_*` first, then what openai-manager's users have set.

        Of openai-manager's variables, OPENAI_GLOBAL_NUM_REQUEST_LIMIT bounds all calls together (`max_calls`),
        COROTINE_PER_AUTH those of a key (`concurrency`), ATTEMPTS_PER_PROMPT is `max_attempts` and OPENAI_LOG_LEVEL
        the level. RATELIMIT_AFTER_SUBMISSION is accepted and means nothing, as limits are exact;
        OPENAI_PROMPTS_PER_ASYNC_BATCH is for `keyfleet.openai_manager`. Keys, proxies and limits: see `sources`.

        Raises ConfigurationError that names the variable.
        """
        return cls(
            state_dir=_state_dir(env),
            broker_url=env.get_parsed("KEYFLEET_BROKER_URL", "KEYFLEET_BROKER", default=None, parse=check_broker_url),
            broker_password_path=env.get_parsed("KEYFLEET_BROKER_PASSWORD_FILE", default=None, parse=_path),
            fleet=env.get_parsed("KEYFLEET_FLEET", default="main", parse=check_fleet),
            keys_path=env.get_parsed("KEYFLEET_KEYS", default=None, parse=_path),
            lease_s=env.get_parsed("KEYFLEET_LEASE_S", default=DEFAULT_LEASE_S, parse=_parse_lease_s),
            log_level=_log_level(env),
            log_format=env.get_parsed("KEYFLEET_LOG_FORMAT", default="text", parse=parse_log_format),
            metrics_port=env.get_parsed("KEYFLEET_METRICS_PORT", default=None, parse=_port),
            metrics_address=env.get_parsed("KEYFLEET_METRICS_ADDRESS", default=DEFAULT_METRICS_ADDRESS, parse=str),
            use=env.get_percentage("KEYFLEET_USE", default=1.0),
            max_attempts=env.get_int("KEYFLEET_MAX_ATTEMPTS", "ATTEMPTS_PER_PROMPT", default=5),
            timeout_s=env.get_duration_s("KEYFLEET_TIMEOUT", "KEYFLEET_TIMEOUT_S", default=DEFAULT_TIMEOUT_S),
            connect_timeout_s=env.get_duration_s(
                "KEYFLEET_CONNECT_TIMEOUT", "KEYFLEET_CONNECT_TIMEOUT_S", default=DEFAULT_CONNECT_TIMEOUT_S
            ),
            timeout_attempts=env.get_int("KEYFLEET_TIMEOUT_ATTEMPTS", default=2),
            concurrency=env.get_int("KEYFLEET_CONCURRENCY", "COROTINE_PER_AUTH", default=None),
            workers_per_key=env.get_int("KEYFLEET_WORKERS_PER_KEY", default=None),
            shutdown_timeout_s=env.get_duration_s("KEYFLEET_SHUTDOWN_TIMEOUT", default=DEFAULT_SHUTDOWN_TIMEOUT_S),
            max_calls=env.get_int(
                "KEYFLEET_MAX_CALLS", "OPENAI_GLOBAL_NUM_REQUEST_LIMIT", "GLOBAL_NUM_REQUEST_LIMIT", default=None
            ),
            guard_ms=env.get_int("KEYFLEET_GUARD_MS", default=DEFAULT_GUARD_MS, minimum=0),
            guard_share=env.get_percentage("KEYFLEET_GUARD_SHARE", default=DEFAULT_GUARD_SHARE),
            give_up_after_s=env.get_duration_s("KEYFLEET_GIVE_UP_AFTER", "KEYFLEET_GIVE_UP_AFTER_S", default=None),
            no_key_grace_s=env.get_duration_s("KEYFLEET_NO_KEY_GRACE", default=DEFAULT_NO_KEY_GRACE_S),
            keep_jobs_s=env.get_duration_s("KEYFLEET_KEEP_JOBS", default=DEFAULT_KEEP_JOBS_S),
            outcome_ttl_s=env.get_duration_s("KEYFLEET_OUTCOME_TTL", default=DEFAULT_OUTCOME_TTL_S),
            min_free_disk_bytes=env.get_parsed(
                "KEYFLEET_MIN_FREE_DISK", default=DEFAULT_MIN_FREE_DISK_BYTES, parse=parse_size_bytes
            ),
            workers=env.get_bool("KEYFLEET_WORKERS", default=True),
            ordered=env.get_bool("KEYFLEET_ORDERED", default=False),
            progress=env.get_bool("KEYFLEET_PROGRESS", default=True),
            stop_early=env.get_bool("KEYFLEET_STOP_EARLY", default=True),
            pack=env.get_bool("KEYFLEET_PACK", default=False),
            pack_inputs=env.get_int("KEYFLEET_PACK_INPUTS", default=DEFAULT_PACK_INPUTS),
        )

    def with_options(self, **options: Any) -> Settings:
        """These settings under the options of a command line, where None means that the option wasn't given."""
        return replace(self, **{name: value for name, value in options.items() if value is not None})


def check_broker_url(url: str) -> str:
    """`url`, if it is one of a Redis-compatible server. Raises ValueError, which doesn't show it."""
    from keyfleet.broker_address import check_address  # brings redis, which not every command needs

    return check_address(url)


def _with_password(url: str, path: Path) -> str:
    from keyfleet.broker_address import has_password, with_password

    if has_password(url):
        return url
    problem = None
    try:
        password = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = f"can't be read ({type(error).__name__})"
    else:
        if password:
            return with_password(url, password)
        problem = "is empty"
    setting = "KEYFLEET_BROKER_PASSWORD_FILE"
    raise ConfigurationError(f"{setting}: {path} {problem}; expected a file that holds the password", setting=setting)


def check_fleet(name: str) -> str:
    """`name`, if it can be a part of Redis keys and queue names. Raises ValueError."""
    if not _FLEET.fullmatch(name):
        raise ValueError("expected 1 to 40 letters, digits, `_` or `-`")
    return name


def parse_log_level(text: str) -> int:
    """10 to 50, or debug, info, warning, error, critical, as a number of `logging`. Raises ValueError."""
    names = {"DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "CRITICAL": 50, "FATAL": 50}
    level = int(text) if text.isascii() and text.isdigit() else names.get(text.upper(), 0)
    if not logging.DEBUG <= level <= logging.CRITICAL:
        raise ValueError("expected debug, info, warning, error, critical, or a number from 10 to 50")
    return level


def _parse_lease_s(text: str) -> float:
    try:
        lease_s = float(text)
    except ValueError:
        lease_s = 0.0
    if not MIN_LEASE_S <= lease_s < float("inf"):
        raise ValueError(f"expected a number of seconds, at least {MIN_LEASE_S:g}")
    return lease_s


def _log_level(env: Environment) -> int:
    return env.get_parsed("KEYFLEET_LOG_LEVEL", "OPENAI_LOG_LEVEL", default=logging.WARNING, parse=parse_log_level)


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= port <= HIGHEST_PORT:
        raise ValueError(f"expected a port, 0 to {HIGHEST_PORT}; 0 takes a free one")
    return port


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _absolute_path(text: str) -> Path:
    return _path(text).absolute()


def _state_dir(env: Environment) -> Path:
    """KEYFLEET_STATE_DIR; else `keyfleet` in XDG_STATE_HOME, which counts only if absolute, as its standard says."""
    chosen = env.get_parsed("KEYFLEET_STATE_DIR", default=None, parse=_absolute_path)
    if chosen is not None:
        return chosen
    xdg = env.get("XDG_STATE_HOME")
    if xdg is not None and Path(xdg).is_absolute():
        return Path(xdg) / "keyfleet"
    return Path(env.get("HOME") or Path.home()) / ".local" / "state" / "keyfleet"
