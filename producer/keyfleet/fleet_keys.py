"""The keys of a Fleet that starts workers: a file's, the environment's, or those that the program gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from keyfleet.config import Environment, KeySource, Settings, find_keys, write_given_keys
from keyfleet.errors import ConfigurationError
from keyfleet.jobs import keys_fleet

__all__ = ["FleetKeys", "KeysArgument", "find_fleet_keys"]

KeysArgument = str | Path | Sequence[str | Mapping[str, Any]]
"""A keys file, or keys in a program's own words: API keys, or mappings with the fields of a keys file."""


@dataclass(frozen=True, slots=True)
class FleetKeys:
    """`variables` are what the keys refer to beside the environment; `fleet` names all that use the same keys."""

    source: KeySource
    fleet: str
    variables: dict[str, str] = field(default_factory=dict, repr=False)


def find_fleet_keys(keys: KeysArgument | None, settings: Settings, env: Environment, stack: ExitStack) -> FleetKeys:
    """The keys; `stack` removes what was written for them. Raises ConfigurationError, which shows no secret."""
    if keys is None or isinstance(keys, str | Path):
        path = None if keys is None else _path(keys)
        source = find_keys(option_path=path, env=env, cwd=Path.cwd())
        source.check_variables(env)
        return FleetKeys(source, keys_fleet(source, env))
    if isinstance(keys, Sequence):
        given = write_given_keys(keys, env, settings.state_dir / "keys")
        stack.callback(given.remove)
        own = replace(given.source, path=None)  # the file is another one each time, and the program's no business
        known = env.with_values(given.variables)
        own.check_variables(known)
        return FleetKeys(given.source, keys_fleet(own, known), given.variables)
    raise ConfigurationError(
        f"keys: expected the name of a keys file, or a list of API keys or of mappings, not {type(keys).__name__}",
        setting="keys",
    )


def _path(name: str | Path) -> Path:
    """A keys file. What is no file may be a secret, so it isn't shown."""
    path = Path(name).expanduser()
    if isinstance(name, str) and path.suffix.lower() not in (".yaml", ".yml", ".json") and not path.exists():
        raise ConfigurationError(
            "keys: there is no such file; expected the name of a keys file, or API keys in a list", setting="keys"
        )
    return path
