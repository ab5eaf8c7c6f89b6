"""Keys as openai-manager's users have them: in the environment, in its YAML file, or in dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from keyfleet.config import Environment, KeyConfig, ModelLimits, environment_keys, load_keys_file
from keyfleet.config.environment_keys import BASE_URL
from keyfleet.config.openai_manager import minute_limits
from keyfleet.errors import ConfigurationError, KeysFileError

__all__ = ["auths_of_dicts", "auths_of_environment", "auths_of_file", "with_names_of_their_own"]

Auth = dict[str, Any]
"""One key, with the fields of a keys file."""

_LIMIT_FIELDS = frozenset({"requests", "tokens", "images", "rpd", "tpd", "ipd", "models"})
"""With one of these a key has limits in Keyfleet's own words, which stand alone."""

_LIMITS = {"requests_per_min": "rpm", "tokens_per_min": "tpm"}


def auths_of_environment(env: Environment) -> list[Auth]:
    """The keys of all OPENAI_API_KEY… variables, which they refer to."""
    return [_auth_of_key(key) for key in environment_keys(env)]


def auths_of_file(path: Path, env: Environment) -> list[Auth]:
    """The `auth…` sections of openai-manager's YAML file. Raises KeysFileError that names the file and the line."""
    keys = load_keys_file(path, env)
    document = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    if "keys" in document:
        message = "expected openai-manager's `auth…` sections; a keys file of Keyfleet's own is named by KEYFLEET_KEYS"
        raise KeysFileError(message, path=path)
    address = _address(env)
    return [
        {**address, **_auth_of_dict(document[key.name]), "name": key.name, **_limits_of(key.limits)} for key in keys
    ]


def auths_of_dicts(dicts: Sequence[Mapping[str, Any]], env: Environment) -> list[Auth]:
    """One key for each of `config_dicts`: `api_key`, and where wanted `proxy`, `requests_per_min`, `tokens_per_min` or
    any field of a keys file. Limits that are not given are the environment's. Raises ConfigurationError."""
    if isinstance(dicts, Mapping):
        raise ConfigurationError("config_dicts: expected a list of dictionaries, found one", setting="config_dicts")
    auths = []
    for number, given in enumerate(dicts):
        if not isinstance(given, Mapping) or not isinstance(given.get("api_key"), str):
            where = f"config_dicts[{number}]"
            raise ConfigurationError(f"{where}: expected a dictionary with an `api_key`", setting=where)
        own = _auth_of_dict(given)
        defaults = {} if _LIMIT_FIELDS & own.keys() else _limits_of(minute_limits(env))
        auths.append({"name": f"auth{number + 1}", **_address(env), **defaults, **own})
    return auths


def with_names_of_their_own(auths: Iterable[Auth]) -> list[Auth]:
    """The same keys; of those with the same name all but the first get a number behind it."""
    found: dict[str, Auth] = {}
    for auth in auths:
        name, number = auth["name"], 1
        while name in found:
            number += 1
            name = f"{auth['name']}-{number}"
        found[name] = {**auth, "name": name}
    return list(found.values())


def _address(env: Environment) -> Auth:
    """Where the provider is, if the environment says so; organisation and project are each key's own."""
    base_url = env.get(*BASE_URL)
    return {} if base_url is None else {"base_url": base_url}


def _auth_of_dict(given: Mapping[str, Any]) -> Auth:
    return {_LIMITS.get(field, field): value for field, value in given.items() if value is not None}


def _auth_of_key(key: KeyConfig) -> Auth:
    """A key of the environment: its secrets stay there, and variables name them."""
    (variable,) = key.api_key.variables
    auth: Auth = {
        "name": key.name,
        "api_key": f"{'file:' if key.api_key.is_file else ''}${{{variable}}}",
        "base_url": key.base_url,
        "organization": key.organization,
        "project": key.project,
        **_limits_of(key.limits),
    }
    if key.proxy is not None:
        (proxy_variable,) = key.proxy.variables
        auth["proxy"] = f"${{{proxy_variable}}}"
    return {field: value for field, value in auth.items() if value is not None}


def _limits_of(limits: ModelLimits | None) -> Auth:
    """Limits per minute as fields of a keys file."""
    if limits is None:
        return {}
    fields = {"rpm": limits.requests, "tpm": limits.tokens, "ipm": limits.images}
    return {field: items[0].amount for field, items in fields.items() if items}
