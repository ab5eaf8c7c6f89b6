"""Where the keys come from: one keys file, or else the environment, and never both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from keyfleet.config.environment import Environment
from keyfleet.config.environment_keys import environment_keys
from keyfleet.config.key_config import KeyConfig
from keyfleet.config.keyfile import check_variables, load_keys_file
from keyfleet.config.model_limits import ModelLimits, with_minute_limit
from keyfleet.errors import ConfigurationError

__all__ = ["KEYS_FILE_NAMES", "KeySource", "find_keys"]

KEYS_FILE_NAMES = ("keys.yaml", "keys.yml")
"""Looked for in the current directory, in this order."""

_NO_KEYS = (
    "no API keys found; set OPENAI_API_KEY (or OPENAI_API_KEY_1, _2, …) in the environment or in .env, "
    "or write a keys file with `keyfleet init`, or name one with --keys"
)


@dataclass(frozen=True, slots=True)
class KeySource:
    """The keys (at least one), and `description`: the line that says where they are from, with names and no values.

    `path` is the keys file's, None for the environment.
    """

    keys: tuple[KeyConfig, ...]
    description: str
    path: Path | None = None

    def check_variables(self, env: Environment) -> None:
        """Raises ConfigurationError (KeysFileError with the line) for the first `${VARIABLE}` that is not set.

        For hosts that run all the keys; a host that runs one of them asks `KeyConfig.unset_variables`.
        """
        check_variables(self.keys, env, self.path)


def find_keys(
    *,
    option_path: Path | None,
    env: Environment,
    cwd: Path,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
) -> KeySource:
    """The keys of the file that `--keys` or KEYFLEET_KEYS names, or of `cwd`'s keys.yaml or keys.yml; else `env`'s.

    A keys file is the only source: variables with keys or limits don't add to it. `requests_per_minute` and
    `tokens_per_minute` are the cookbook's options; its script has one key, so here they hold for each key (and each
    of its models that has limits) by itself, in place of what is configured for a minute; limits of other windows
    stay. Decimals (`1500.0`) are rounded down.

    Raises ConfigurationError, KeysFileError among them, when there are no keys or one is wrong.
    """
    path = option_path or _named_file(env, cwd) or _found_file(cwd)
    source = _from_environment(env) if path is None else _from_file(path, env, cwd)
    requests = _whole(requests_per_minute, "--max_requests_per_minute")
    tokens = _whole(tokens_per_minute, "--max_tokens_per_minute")
    if requests is None and tokens is None:
        return source
    return replace(source, keys=tuple(_with_minute_limits(key, requests, tokens) for key in source.keys))


def _named_file(env: Environment, cwd: Path) -> Path | None:
    name = env.get("KEYFLEET_KEYS")
    return None if name is None else cwd / Path(name).expanduser()


def _found_file(cwd: Path) -> Path | None:
    return next((cwd / name for name in KEYS_FILE_NAMES if (cwd / name).exists()), None)


def _from_file(path: Path, env: Environment, cwd: Path) -> KeySource:
    keys = load_keys_file(path, env)
    shown = f"./{path.relative_to(cwd)}" if path.is_absolute() and path.is_relative_to(cwd) else str(path)
    return KeySource(keys=keys, description=f"keys: {len(keys)} from {shown}", path=path)


def _from_environment(env: Environment) -> KeySource:
    keys = environment_keys(env)
    if not keys:
        raise ConfigurationError(_NO_KEYS)
    variables = [name for key in keys for name in key.api_key.variables]
    description = f"keys: {len(keys)} from {_places(variables, env)} ({', '.join(variables)})"
    return KeySource(keys=keys, description=description)


def _places(variables: Iterable[str], env: Environment) -> str:
    places = {".env" if env.is_from_dotenv(name) else "the environment" for name in variables}
    return " and ".join(sorted(places, reverse=True))


def _whole(amount: float | None, option: str) -> int | None:
    if amount is None:
        return None
    if not 1 <= amount < float("inf"):
        raise ConfigurationError(f"{option}: expected a number of at least 1", setting=option)
    return int(amount)


def _with_minute_limits(key: KeyConfig, requests: int | None, tokens: int | None) -> KeyConfig:
    def changed(limits: ModelLimits) -> ModelLimits:
        return replace(
            limits,
            requests=with_minute_limit(limits.requests, requests),
            tokens=with_minute_limit(limits.tokens, tokens),
        )

    if key.models:
        models = {name: replace(settings, limits=changed(settings.limits)) for name, settings in key.models.items()}
        return replace(key, models=models)
    return replace(key, limits=changed(key.limits or ModelLimits()))
