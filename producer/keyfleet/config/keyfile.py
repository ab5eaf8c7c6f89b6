"""Reads the keys file: `keys:`, `defaults:` and `groups:` in YAML, or openai-manager's `auth…` sections.

A key's own field replaces the whole field of `defaults`, and an empty one (`proxy:`) removes it. The limits of a
group that stands under `groups` are its organisation's, and a key's own limits are then its project's. An unset
`${VARIABLE}` in a secret is no error here, since not every host that reads the file runs every key: see
`KeyConfig.unset_variables` and `check_variables`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from yaml.nodes import MappingNode, Node, SequenceNode

from keyfleet.config.environment import Environment
from keyfleet.config.file_access import others_may_read
from keyfleet.config.key_config import DEFAULT_BASE_URLS, KeyConfig
from keyfleet.config.key_fields import KEY_FIELDS, OWN_FIELDS, FieldReader
from keyfleet.config.limit_fields import LIMIT_FIELDS, over_defaults, read_limits
from keyfleet.config.model_fields import check_limits_stand_apart, check_used_groups, read_group
from keyfleet.config.openai_manager import is_openai_manager_file, openai_manager_keys
from keyfleet.config.yaml_document import Entries, YamlDocument, is_null, line_number
from keyfleet.errors import ConfigurationError, KeysFileError

__all__ = ["TOP_FIELDS", "check_variables", "load_keys_file"]

logger = logging.getLogger(__name__)

TOP_FIELDS = ("keys", "defaults", "groups")


def load_keys_file(path: Path, env: Environment) -> tuple[KeyConfig, ...]:
    """The keys in the file at `path`, at least one, in its order. Raises KeysFileError with path and line.

    Logs one warning if secrets are written out in a file that others on this machine may read.
    """
    document = YamlDocument.read(path)
    keys = _keys(document, env)
    _check_names(document, keys)
    if any(key.api_key.is_literal for key in keys) and others_may_read(path):
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
    top = document.fields(root, "a keys file", TOP_FIELDS)
    if "keys" not in top:
        raise document.error(root, "`keys` is missing; expected a list of keys under it")
    key_node, list_node = top["keys"]
    if is_null(list_node) or not list_node.value:
        raise document.error(key_node, "`keys` is empty; expected at least one key (- name: …)")
    if not isinstance(list_node, SequenceNode):
        raise document.error(list_node, "`keys`: expected a list (- name: …)")
    reader = FieldReader(document, env)
    defaults = _defaults(document, reader, top)
    groups = _groups(document, reader, top)
    settings = {name: read_group(document, name, node) for name, (_, node) in groups.items()}
    keys = tuple(_key(document, reader, defaults, node) for node in list_node.value)
    check_used_groups(document, groups, [key.group for key in keys if key.group])
    return tuple(replace(key, group_settings=settings.get(key.group)) if key.group else key for key in keys)


def _groups(document: YamlDocument, reader: FieldReader, top: Entries) -> Entries:
    if "groups" not in top or is_null(top["groups"][1]):
        return {}
    entries = document.entries(top["groups"][1], "`groups`")
    for key_node, _ in entries.values():
        reader.read("group", key_node)
    return entries


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
    read_limits(document, entries)
    return entries


def _key(document: YamlDocument, reader: FieldReader, defaults: Entries, node: Node) -> KeyConfig:
    own = document.fields(node, "a key", KEY_FIELDS)
    entries = {field: entry for field, entry in over_defaults(own, defaults).items() if not is_null(entry[1])}
    for field in OWN_FIELDS:
        if field not in entries:
            raise document.error(node, f"a key: `{field}` is missing")
    check_limits_stand_apart(document, entries)
    values = {field: reader.read(field, value) for field, (_, value) in entries.items() if field not in LIMIT_FIELDS}
    values["base_url"] = _base_url(document, node, values)
    if values.get("provider") != "azure":
        if "api_version" in own and "api_version" in values:
            raise document.error(own["api_version"][0], "`api_version`: only the provider azure has one")
        values["api_version"] = None
    return KeyConfig(**values, limits=read_limits(document, entries) or None, line_number=line_number(node))


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
