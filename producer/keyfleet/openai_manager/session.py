"""The fleet of these calls: one for the process, made at the first call with the keys that are there by then."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keyfleet.config import Environment, parse_log_level, write_given_keys
from keyfleet.fleet import Fleet
from keyfleet.openai_manager.auths import (
    Auth,
    auths_of_dicts,
    auths_of_environment,
    auths_of_file,
    with_names_of_their_own,
)

__all__ = ["SESSION", "Session", "append_auth_from_config"]


class Session:
    """For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._appended: list[Auth] = []
        self._fleet: Fleet | None = None
        self._pid = 0

    def append(self, auths: list[Auth]) -> None:
        """Use these keys from the next call on, beside the environment's. Calls under way must have ended."""
        _check(auths)
        with self._lock:
            self._appended += auths
            fleet, self._fleet = self._fleet, None
        if fleet is not None:
            fleet.close()

    def fleet(self) -> Fleet:
        """The fleet, made anew where keys were added. Raises ConfigurationError, where there are no keys among others.

        Without keys that were appended it is a `Fleet()`, which finds its keys as every other does; its server and
        its workers are started by its first call, and end with the process.
        """
        with self._lock:
            if self._fleet is None or self._pid != os.getpid():
                self._fleet, self._pid = _make_fleet(self._appended), os.getpid()
            return self._fleet


SESSION = Session()


def append_auth_from_config(
    config_path: str | Path | None = None, config_dicts: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Add the keys of openai-manager's YAML file, of dictionaries, or of both.

    A key without limits has those of the environment (REQUESTS_PER_MIN_LIMIT, TOKENS_PER_MIN_LIMIT), and where these
    are unset learns them from the provider's answers. Raises ConfigurationError; KeysFileError with the line.
    """
    env = Environment.read()
    auths = [] if config_path is None else auths_of_file(Path(config_path).expanduser(), env)
    SESSION.append(auths + auths_of_dicts(config_dicts or (), env))


def _check(auths: list[Auth]) -> None:
    """Say here what is wrong, before every later call would. Raises ConfigurationError."""
    if auths:
        with TemporaryDirectory() as directory:
            write_given_keys(with_names_of_their_own(auths), Environment.read(), Path(directory))


def _make_fleet(appended: list[Auth]) -> Fleet:
    env = Environment.read()
    level = env.get_parsed("OPENAI_LOG_LEVEL", default=None, parse=parse_log_level)
    if level is not None:
        logging.getLogger("keyfleet").setLevel(level)
    if not appended:
        return Fleet()
    return Fleet(keys=with_names_of_their_own([*auths_of_environment(env), *appended]))
