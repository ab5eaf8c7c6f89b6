"""API keys from environment variables, as openai-manager and the official client have them."""

from __future__ import annotations

import logging
import re

from keyfleet.config.environment import Environment
from keyfleet.config.key_config import DEFAULT_BASE_URLS, KeyConfig
from keyfleet.config.key_fields import check_base_url
from keyfleet.config.openai_manager import minute_limits
from keyfleet.config.references import ProxyUrl, SecretReference
from keyfleet.errors import ConfigurationError

__all__ = ["BASE_URL", "ORGANIZATION", "PROJECT", "KeyVariable", "environment_keys", "key_variables"]

logger = logging.getLogger(__name__)

KEY_PREFIX = "OPENAI_API_KEY"
PROXY_PREFIX = "OPENAI_API_PROXY"
BASE_URL = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
ORGANIZATION = ("OPENAI_ORG_ID", "OPENAI_ORGANIZATION")
PROJECT = ("OPENAI_PROJECT_ID",)

_FILE_SUFFIX = re.compile(r"_(?:FILE|PATH)$", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_]+")
_MAX_NAME_CHARACTERS = 60
"""Leaves room, in a name of at most 64, for what tells equal names apart."""


class KeyVariable:
    """A variable that gives a key: OPENAI_API_KEY and a suffix, which is the key's index.

    OPENAI_API_KEY_PATH (an official variable) and others that end in _PATH or _FILE name a file that holds the key.
    """

    __slots__ = ("index", "is_file", "name")

    def __init__(self, name: str) -> None:
        suffix = name[len(KEY_PREFIX) :]
        self.name = name
        self.is_file = _FILE_SUFFIX.search(suffix) is not None
        self.index = _FILE_SUFFIX.sub("", suffix)

    @property
    def key_name(self) -> str:
        """`default` for no index, `key-1` for `_1`, `research` for `_RESEARCH`."""
        name = re.sub(r"[^a-z0-9.]+", "-", self.index.lower()).strip("-.")[:_MAX_NAME_CHARACTERS]
        return f"key-{name}" if name[:1].isdigit() else name or "default"

    @property
    def reference(self) -> SecretReference:
        """Where the secret is, to be written into a keys file or resolved by a worker."""
        return SecretReference.to_file_named_by(self.name) if self.is_file else SecretReference.to_variable(self.name)

    def proxy_variable(self, env: Environment) -> str | None:
        """The proxy of the same index, else the one of all keys; a blank one of the same index means no proxy."""
        own = PROXY_PREFIX + self.index
        return env.first_set(own if env.is_defined(own) else PROXY_PREFIX)

    def sort_key(self) -> tuple[tuple[bool, int, str], ...]:
        """By index, in which numbers count as such: `_2` before `3` before `_10`."""
        parts = re.findall(r"\d+|\D+", self.index.strip("_"))
        return tuple((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)


def key_variables(env: Environment) -> list[KeyVariable]:
    """The variables that give a key, in the order of their indices; blank ones give none.

    A file is passed over, with a warning, where a variable of the same index holds the key itself. Raises
    ConfigurationError for a variable that seems to hold several keys.
    """
    found = [KeyVariable(name) for name in env.names_starting_with(KEY_PREFIX) if _is_referable(name)]
    with_value = {variable.index for variable in found if not variable.is_file}
    chosen = []
    for variable in found:
        if variable.is_file and variable.index in with_value:
            logger.warning("%s is passed over, since %s%s is set", variable.name, KEY_PREFIX, variable.index)
            continue
        if not variable.is_file and re.search(r"[\s,;]", env.get(variable.name) or ""):
            message = f"{variable.name}: expected one key, without spaces, `,` or `;`; give each its own {KEY_PREFIX}_n"
            raise ConfigurationError(message, setting=variable.name)
        chosen.append(variable)
    return sorted(chosen, key=KeyVariable.sort_key)


def _is_referable(name: str) -> bool:
    if _NAME.fullmatch(name):
        return True
    logger.warning("%s is passed over: its name has more than letters, digits and _", ascii(name))
    return False


def environment_keys(env: Environment) -> tuple[KeyConfig, ...]:
    """A key for each variable that begins with OPENAI_API_KEY, serving any model; none set, none returned.

    The proxy is OPENAI_API_PROXY with the same suffix, else OPENAI_API_PROXY; OPENAI_BASE_URL (or OPENAI_API_BASE),
    OPENAI_ORG_ID (OPENAI_ORGANIZATION) and OPENAI_PROJECT_ID hold for all. Limits are those of the *_PER_MIN_LIMIT
    variables, each key for itself. What isn't set is learned from the provider's answers: openai-manager's defaults
    of 10 requests and 40,000 tokens a minute, those of a free trial in 2023, are not applied.
    """
    base_url = env.get_parsed(*BASE_URL, default=DEFAULT_BASE_URLS["openai"], parse=check_base_url)
    limits = minute_limits(env) or None
    keys: dict[str, KeyConfig] = {}
    for variable in key_variables(env):
        name = _unused(variable.key_name, keys)
        proxy_variable = variable.proxy_variable(env)
        keys[name] = KeyConfig(
            name=name,
            api_key=variable.reference,
            proxy=None if proxy_variable is None else ProxyUrl(f"${{{proxy_variable}}}"),
            base_url=base_url,
            organization=env.get(*ORGANIZATION),
            project=env.get(*PROJECT),
            limits=limits,
        )
    return tuple(keys.values())


def _unused(name: str, taken: dict[str, KeyConfig]) -> str:
    """`name`, or with a number where it is taken, as by OPENAI_API_KEY1 and OPENAI_API_KEY_1."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
