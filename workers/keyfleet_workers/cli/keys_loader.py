"""Reading the keys of a command again and again, each time with its options."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from keyfleet.config import Environment, KeyConfig, KeySource, KeysWatch, find_keys

__all__ = ["KeysLoader"]

TICK_S = 2.0
"""Largest step of a file system's times (s), which FAT has."""


@dataclass(slots=True)
class KeysLoader:
    """The keys as the command's options change them. `env` is the environment, with `.env` as it was read last."""

    option_path: Path | None = None
    base_url: str | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    env: Environment = field(default_factory=Environment.read)

    def load(self) -> KeySource:
        """Read the keys. Raises ConfigurationError."""
        self.env = Environment.read()
        source = find_keys(
            option_path=self.option_path,
            env=self.env,
            cwd=Path.cwd(),
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
        )
        return self._with_base_url(source)

    def watch(self) -> tuple[KeysWatch | None, KeySource]:
        """The keys now, and what notices their changes, if they come from a file. Raises ConfigurationError."""
        began_s = time.time()
        source = self.load()
        if source.path is None:
            return None, source
        watch = KeysWatch(self.load, source.path)
        if source.path.stat().st_mtime > began_s - TICK_S:  # it may have changed between the reading and the watch
            source = self.load()
        return watch, source

    def has_secrets_of(self, key: KeyConfig) -> bool:
        """Whether the variables that hold the key's secrets are set on this host."""
        return not key.unset_variables(self.env)

    def _with_base_url(self, source: KeySource) -> KeySource:
        """The keys, with `base_url` for those that were given none of their own."""
        base_url = self.base_url
        if base_url is None:
            return source
        default = KeyConfig.__dataclass_fields__["base_url"].default
        return replace(
            source,
            keys=tuple(replace(key, base_url=base_url) if key.base_url == default else key for key in source.keys),
        )
