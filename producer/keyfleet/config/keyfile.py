"""Reads the keys file: `keys:` and `defaults:` in YAML, or openai-manager's `auth…` sections.

A key's own field replaces the whole field of `defaults`, and an empty one (`proxy:`) removes it. An unset
`${VARIABLE}` in a secret is no error here, since not every host that reads the file runs every key: see
`KeyConfig.unset_variables` and `check_variables`.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yaml.nodes import MappingNode, Node, SequenceNode

from keyfleet.config.environment import Environment
from keyfleet.config.key_config import DEFAULT_BASE_URLS, KeyConfig
from keyfleet.config.key_fields import KEY_FIELDS, OWN_FIELDS, FieldReader
from keyfleet.config.model_limits import ModelLimits
from keyfleet.config.openai_manager import is_openai_manager_file, openai_manager_keys
from keyfleet.config.yaml_document import Entries, YamlDocument, is_null, line_number
from keyfleet.errors import ConfigurationError, KeysFileError

__all__ = ["check_variables", "load_keys_file"]

logger = logging.getLogger(__name__)

_LIMIT_FIELDS = ("requests", "tokens")


def load_keys_file(path: Path, env: Environment) -> tuple[KeyConfig, ...]:
    """The keys in the file at `path`, at least one, in its order. Raises KeysFileError with path and line.

    Logs one warning if secrets are written out in a file that others on this machine may read.
    """
    document = YamlDocument.read(path)
    keys = _keys(document, env)
    _check_names(document, keys)
    if any(key.api_key.is_literal for key in keys) and _is_readable_by_others(path):
        logger.warning("%s holds API keys and others on this machine may read it: chmod 600 %s", path, path)
    return keys


def check_variables(keys: Iterable[KeyConfig], env: Environment, path: Path | None = None) -> None:
    """Raises KeysFileError (without `path`: ConfigurationError) that names the first unset variable of `keys`."""
    for key in keys:
        for name in key.unset_variables(env):
            message = f"{name} is not set, neither in the environment nor in .env; key {key.name} needs it"
            if path is not None:
                raise KeysFileError(message, path=path, line_number=key.line_number)
            raise ConfigurationError(message, setting=name)


def _keys(document: YamlDocument, env: Environment) -> tuple[KeyConfig, ...]:
    root = document.root
    if root is None:
        raise KeysFileError("holds no keys; `keyfleet init --force` writes an example", path=document.path)
    if is_openai_manager_file(root):
        return openai_manager_keys(document, env)
    top = document.fields(root, "a keys file", ("keys", "defaults"))
    if "keys" not in top:
        raise document.error(root, "`keys` is missing; expected a list of keys under it")
    key_node, list_node = top["keys"]
    if is_null(list_node) or not list_node.value:
        raise document.error(key_node, "`keys` is empty; expected at least one key (- name: …)")
    if not isinstance(list_node, SequenceNode):
        raise document.error(list_node, "`keys`: expected a list (- name: …)")
    reader = FieldReader(document, env)
    defaults = _defaults(document, reader, top)
    return tuple(_key(document, reader, defaults, node) for node in list_node.value)


def _defaults(document: YamlDocument, reader: FieldReader, top: Entries) -> Entries:
    """The fields of `defaults`, each read once, so that an error in it shows although every key replaces it."""
    if "defaults" not in top or is_null(top["defaults"][1]):
        return {}
    shared = tuple(field for field in KEY_FIELDS if field not in OWN_FIELDS)
    node = top["defaults"][1]
    for field in OWN_FIELDS:
        if isinstance(node, MappingNode) and field in document.entries(node, "`defaults`"):
            raise document.error(node, f"`defaults`: `{field}` belongs to one key and can't be shared")
    entries = document.fields(node, "`defaults`", shared)
    for field, (_, value) in entries.items():
        if not is_null(value):
            reader.read(field, value)
    return entries


def _key(document: YamlDocument, reader: FieldReader, defaults: Entries, node: Node) -> KeyConfig:
    own = document.fields(node, "a key", KEY_FIELDS)
    entries = {field: entry for field, entry in {**defaults, **own}.items() if not is_null(entry[1])}
    for field in OWN_FIELDS:
        if field not in entries:
            raise document.error(node, f"a key: `{field}` is missing")
    values = {field: reader.read(field, value) for field, (_, value) in entries.items()}
    _check_limits(document, entries)
    return KeyConfig(**_with_limits(values), base_url=_base_url(document, node, values), line_number=line_number(node))


def _with_limits(values: dict[str, Any]) -> dict[str, Any]:
    """The arguments of KeyConfig, with `requests` and `tokens` as one `limits`; `base_url` apart."""
    limits = ModelLimits(**{field: values[field] for field in _LIMIT_FIELDS if field in values})
    others = {field: value for field, value in values.items() if field not in (*_LIMIT_FIELDS, "base_url")}
    return {**others, "limits": limits or None}


def _check_limits(document: YamlDocument, entries: Entries) -> None:
    """Limits at the key beside `models` could mean two things, so they are refused."""
    for field in _LIMIT_FIELDS:
        if "models" in entries and field in entries:
            key_node, _ = entries[field]
            raise document.error(key_node, f"`{field}` beside `models`; expected the limits at each model")


def _base_url(document: YamlDocument, node: Node, values: dict[str, Any]) -> str:
    provider = values.get("provider", "openai")
    base_url = values.get("base_url") or DEFAULT_BASE_URLS.get(provider)
    if base_url is None:
        raise document.error(node, f"`base_url` is missing; the provider {provider} has no default address")
    return str(base_url)


def _check_names(document: YamlDocument, keys: Iterable[KeyConfig]) -> None:
    first_lines: dict[str, int | None] = {}
    for key in keys:
        if key.name in first_lines:
            message = f"the name {key.name} is taken by the key in line {first_lines[key.name]}"
            raise KeysFileError(message, path=document.path, line_number=key.line_number)
        first_lines[key.name] = key.line_number


def _is_readable_by_others(path: Path) -> bool:
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
