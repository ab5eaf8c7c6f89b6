"""Keys that a program gives in its own words: API keys, or mappings as a keys file has them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyfleet.config.environment import Environment
from keyfleet.config.keyfile import load_keys_file
from keyfleet.config.references import check_proxy_url
from keyfleet.config.sources import KeySource
from keyfleet.errors import ConfigurationError, KeysFileError

__all__ = ["GivenKeys", "write_given_keys"]

_FIRST_LINE = 2
"""The line of the first key in the file: each key has a line of its own, behind `keys:`."""

_SECRETS = ("api_key", "proxy")


@dataclass(frozen=True, slots=True)
class GivenKeys:
    """A keys file without secrets, and the variables that its keys refer to, for the environment of their workers."""

    source: KeySource
    path: Path
    variables: dict[str, str] = field(repr=False)

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def write_given_keys(keys: Sequence[str | Mapping[str, Any]], env: Environment, directory: Path) -> GivenKeys:
    """Write `keys` as a keys file into `directory`, every secret replaced by a variable.

    Raises ConfigurationError that tells which of them is wrong, counted from 0, and shows no value.
    """
    if not keys:
        raise ConfigurationError("keys: expected at least one key", setting="keys")
    variables: dict[str, str] = {}
    entries = [_entry(number, key, variables) for number, key in enumerate(keys)]
    texts = [_dumped(number, entry) for number, entry in enumerate(entries)]
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(suffix=".yaml", prefix="given-", dir=directory)
    path = Path(name)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("keys:\n" + "".join(f"- {text}\n" for text in texts))
    try:
        loaded = load_keys_file(path, env.with_values(variables))
    except KeysFileError as error:
        path.unlink()
        raise _as_given(error, len(keys)) from None
    return GivenKeys(KeySource(loaded, f"keys: {len(loaded)} given by the program", path), path, variables)


def _entry(number: int, key: str | Mapping[str, Any], variables: dict[str, str]) -> dict[str, Any]:
    if isinstance(key, str):
        key = {"api_key": key}
    if not isinstance(key, Mapping):
        raise _wrong(number, f"expected an API key or a mapping as in a keys file, found {type(key).__name__}")
    entry = {"name": f"key-{number + 1}", **key}
    _check_texts(number, entry)
    for field_name in _SECRETS:
        if isinstance(secret := entry.get(field_name), str) and not _is_reference(secret):
            if field_name == "proxy":
                _check_proxy(number, secret)
            entry[field_name] = _to_variable(f"KEYFLEET_GIVEN_{field_name.upper()}_{number}", secret, variables)
    if isinstance(headers := entry.get("headers"), Mapping):
        entry["headers"] = {
            name: _to_variable(f"KEYFLEET_GIVEN_HEADER_{number}_{index}", value, variables)
            if isinstance(value, str) and not _is_reference(value)
            else value
            for index, (name, value) in enumerate(headers.items())
        }
    return entry


def _check_texts(number: int, entry: Mapping[str, Any]) -> None:
    """What is no text would be written as it is, or as something else."""
    headers = entry.get("headers")
    secrets = {name: entry.get(name) for name in _SECRETS}
    secrets |= {f"headers: {name}": value for name, value in headers.items()} if isinstance(headers, Mapping) else {}
    for name, secret in secrets.items():
        if not (secret is None or isinstance(secret, str)):
            raise _wrong(number, f"`{name}`: expected a text, found {type(secret).__name__}")


def _dumped(number: int, entry: Mapping[str, Any]) -> str:
    try:
        return json.dumps(entry)
    except (TypeError, ValueError):
        wrong = next((name for name, value in entry.items() if not _is_plain(value)), "?")
    raise _wrong(number, f"`{wrong}`: expected what a keys file can hold: texts, numbers, lists and mappings")


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _wrong(number: int, problem: str) -> ConfigurationError:
    return ConfigurationError(f"keys[{number}]: {problem}", setting=f"keys[{number}]")


def _check_proxy(number: int, url: str) -> None:
    """A variable's value is only looked at by the worker that uses it, which would say it where nobody looks."""
    try:
        check_proxy_url(url)
    except ValueError as error:
        problem = str(error)
    else:
        return
    raise _wrong(number, f"`proxy`: {problem}")


def _is_reference(text: str) -> bool:
    return "${" in text or text.startswith("file:") or not text.strip()


def _to_variable(name: str, secret: str, variables: dict[str, str]) -> str:
    variables[name] = secret
    return f"${{{name}}}"


def _as_given(error: KeysFileError, count: int) -> ConfigurationError:
    """The error in the words of whoever gave the keys: which of them, instead of a line of a file of ours."""
    message = str(error).partition(": ")[2]
    number = (error.line_number or 0) - _FIRST_LINE
    where = f"keys[{number}]" if 0 <= number < count else "keys"
    return ConfigurationError(f"{where}: {message}", setting=where)
