"""What users of openai-manager have already: its YAML file of `auth…` sections."""

from __future__ import annotations

import logging
from typing import Any

from limits import RateLimitItem, RateLimitItemPerMinute
from yaml.nodes import MappingNode, Node, ScalarNode

from keyfleet.config.environment import Environment
from keyfleet.config.key_config import KeyConfig
from keyfleet.config.key_fields import FieldReader
from keyfleet.config.model_limits import ModelLimits
from keyfleet.config.yaml_document import YamlDocument, is_null, line_number

__all__ = ["REQUESTS_PER_MINUTE", "TOKENS_PER_MINUTE", "is_openai_manager_file", "minute_limits", "openai_manager_keys"]

logger = logging.getLogger(__name__)

REQUESTS_PER_MINUTE = ("KEYFLEET_REQUESTS_PER_MINUTE", "OPENAI_REQUESTS_PER_MIN_LIMIT", "REQUESTS_PER_MIN_LIMIT")
TOKENS_PER_MINUTE = ("KEYFLEET_TOKENS_PER_MINUTE", "OPENAI_TOKENS_PER_MIN_LIMIT", "TOKENS_PER_MIN_LIMIT")
"""Both the names that its README gives and those that its code reads."""

IMAGES_PER_MINUTE = ("KEYFLEET_IMAGES_PER_MINUTE",)
"""openai-manager counts no images, so there is no other name."""

_SECTION_PREFIX = "auth"
_FIELDS = ("api_key", "proxy", "requests_per_min", "tokens_per_min")


def is_openai_manager_file(root: Node) -> bool:
    """Whether the file has `auth…` sections and no `keys`."""
    if not isinstance(root, MappingNode):
        return False
    names = [key.value for key, _ in root.value if isinstance(key, ScalarNode)]
    return "keys" not in names and any(name.startswith(_SECTION_PREFIX) for name in names)


def openai_manager_keys(document: YamlDocument, env: Environment) -> tuple[KeyConfig, ...]:
    """One key for each section, under the section's own name (`auth_1`), serving any model.

    A section without `requests_per_min` or `tokens_per_min` takes it from the environment, as openai-manager does;
    where that is unset as well the limit is learned, and openai-manager's default of 10 or 40,000 is not applied.
    """
    if document.root is None:
        return ()
    reader = FieldReader(document, env)
    defaults = minute_limits(env)
    keys = []
    for name, (key_node, node) in document.entries(document.root, "a keys file").items():
        if name.startswith(_SECTION_PREFIX):
            reader.read("name", key_node)
            keys.append(_key(document, reader, defaults, name, node))
        else:
            line = line_number(key_node)
            logger.warning("%s, line %d: passed over: its name doesn't begin with `auth`", document.path, line)
    return tuple(keys)


def minute_limits(env: Environment) -> ModelLimits:
    """The limits per minute that the environment gives; those it doesn't give are left out, to be learned."""
    names = (REQUESTS_PER_MINUTE, TOKENS_PER_MINUTE, IMAGES_PER_MINUTE)
    return ModelLimits(*(_per_minute(env, of_unit) for of_unit in names))


def _per_minute(env: Environment, names: tuple[str, ...]) -> tuple[RateLimitItem, ...]:
    """Numbers may have decimals, as the cookbook's script takes them (`1500.0`); they are rounded down."""
    amount = env.get_float(*names, default=None, minimum=1)
    return () if amount is None else (RateLimitItemPerMinute(int(amount)),)


def _key(document: YamlDocument, reader: FieldReader, defaults: ModelLimits, name: str, node: Node) -> KeyConfig:
    fields = document.fields(node, "an `auth…` section", _FIELDS)
    nodes = {field: value for field, (_, value) in fields.items() if not is_null(value)}
    if "api_key" not in nodes:
        raise document.error(node, f"{name}: `api_key` is missing")
    values: dict[str, Any] = {
        field: reader.read(field, nodes[field]) for field in ("api_key", "proxy") if field in nodes
    }
    requests = _limit(document, nodes, "requests_per_min") or defaults.requests
    tokens = _limit(document, nodes, "tokens_per_min") or defaults.tokens
    limits = ModelLimits(requests, tokens, defaults.images) or None
    return KeyConfig(name=name, **values, limits=limits, line_number=line_number(node))


def _limit(document: YamlDocument, nodes: dict[str, Node], field: str) -> tuple[RateLimitItem, ...]:
    if field not in nodes:
        return ()
    try:
        amount = int(float(document.text(nodes[field], f"`{field}`").replace("_", "")))
    except (ValueError, OverflowError):
        amount = 0
    if amount < 1:
        raise document.error(nodes[field], f"`{field}`: expected a number of at least 1")
    return (RateLimitItemPerMinute(amount),)
