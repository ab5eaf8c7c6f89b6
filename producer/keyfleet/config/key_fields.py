"""What each field of a key means in the keys file: from a YAML node to the value in `KeyConfig`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from limits import RateLimitItem
from yaml.nodes import Node

from keyfleet.config.environment import Environment
from keyfleet.config.key_config import DEFAULT_AZURE_API_VERSION, KEY_NAME_PATTERN, PROVIDERS, Provider
from keyfleet.config.limit_fields import LIMIT_FIELDS, read_limit
from keyfleet.config.model_fields import read_models
from keyfleet.config.model_settings import ModelSettings
from keyfleet.config.notation import parse_duration_s, parse_percentage, parse_yes_no
from keyfleet.config.references import ProxyUrl, SecretReference, expand_variables
from keyfleet.config.yaml_document import YamlDocument
from keyfleet.errors import ConfigurationError

__all__ = ["KEY_FIELDS", "OWN_FIELDS", "FieldReader", "check_base_url"]

OWN_FIELDS = ("name", "api_key")
"""Fields that keys can't share, and so can't stand in `defaults`."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BARE_VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")
_API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?|v1|preview|latest")
_MIN_SECRET_CHARACTERS = 20

T = TypeVar("T")


class FieldReader:
    """Reads the fields of keys in one document; `env` is for `${VARIABLE}` in fields that are no secrets."""

    def __init__(self, document: YamlDocument, env: Environment) -> None:
        self._document = document
        self._env = env

    def read(self, field: str, node: Node) -> Any:
        """The value of `field`, one of KEY_FIELDS. Raises KeysFileError with the line."""
        return _READERS[field](self, field, node)

    def _parsed(self, field: str, node: Node, parse: Callable[[str], T]) -> T:
        """What `parse` makes of the text; its ValueError says what is expected."""
        text = self._document.text(node, f"`{field}`")
        try:
            return parse(text)
        except (ValueError, ConfigurationError) as error:
            problem = str(error)
        raise self._document.error(node, f"`{field}`: {problem}")

    def _name(self, field: str, node: Node) -> str:
        return self._parsed(field, node, _parse_name)

    def _api_key(self, field: str, node: Node) -> SecretReference:
        return self._parsed(field, node, _parse_api_key)

    def _proxy(self, field: str, node: Node) -> ProxyUrl:
        return self._parsed(field, node, ProxyUrl)

    def _provider(self, field: str, node: Node) -> Provider:
        return self._parsed(field, node, _parse_provider)

    def _base_url(self, field: str, node: Node) -> str:
        return self._parsed(field, node, lambda text: check_base_url(expand_variables(text, self._env)))

    def _plain(self, field: str, node: Node) -> str:
        return self._parsed(field, node, lambda text: _parse_header_value(expand_variables(text, self._env)))

    def _duration_s(self, field: str, node: Node) -> float:
        return self._parsed(field, node, parse_duration_s)

    def _count(self, field: str, node: Node) -> int:
        return self._parsed(field, node, _parse_count)

    def _headroom(self, field: str, node: Node) -> float:
        return self._parsed(field, node, _parse_headroom)

    def _headers(self, field: str, node: Node) -> dict[str, SecretReference]:
        headers = {}
        for name, (key, value) in self._document.entries(node, f"`{field}`").items():
            if not _HEADER_NAME.fullmatch(name):
                raise self._document.error(key, f"`{field}`: expected the name of an HTTP header")
            headers[name] = self._parsed(field, value, SecretReference)
        return headers

    def _limits(self, field: str, node: Node) -> tuple[RateLimitItem, ...]:
        return read_limit(self._document, field, node)

    def _models(self, field: str, node: Node) -> dict[str, ModelSettings]:
        return read_models(self._document, node)

    def _api_version(self, field: str, node: Node) -> str:
        return self._parsed(field, node, _parse_api_version)

    def _yes_no(self, field: str, node: Node) -> bool:
        return self._parsed(field, node, parse_yes_no)


_READERS: dict[str, Callable[[FieldReader, str, Node], Any]] = {
    "name": FieldReader._name,
    "api_key": FieldReader._api_key,
    "group": FieldReader._name,
    "proxy": FieldReader._proxy,
    "provider": FieldReader._provider,
    "base_url": FieldReader._base_url,
    "organization": FieldReader._plain,
    "project": FieldReader._plain,
    "headers": FieldReader._headers,
    "timeout_s": FieldReader._duration_s,
    "concurrency": FieldReader._count,
    "workers": FieldReader._count,
    "headroom": FieldReader._headroom,
    "api_version": FieldReader._api_version,
    "refunds": FieldReader._yes_no,
    "models": FieldReader._models,
    **dict.fromkeys(LIMIT_FIELDS, FieldReader._limits),
}

KEY_FIELDS = tuple(_READERS)


def check_base_url(url: str) -> str:
    """`url` without its last slash. Raises ValueError unless it is an http address without credentials in it.

    `requests` would make credentials in it into an Authorization header, in place of the API key's.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or parts.query or parts.fragment or re.search(r"\s", url):
        raise ValueError("expected an address such as https://api.openai.com/v1, without credentials or a query")
    return url.rstrip("/")


def _parse_name(text: str) -> str:
    if not re.fullmatch(KEY_NAME_PATTERN, text):
        raise ValueError("expected 1 to 64 letters, digits, `.`, `_` or `-`")
    if text.startswith("sk-") and len(text) > _MIN_SECRET_CHARACTERS:
        raise ValueError("expected a name that everyone may see; this looks like an API key")
    return text


def _parse_api_key(text: str) -> SecretReference:
    if _BARE_VARIABLE.fullmatch(text):
        raise ValueError("expected the name of a variable in braces: ${NAME}")
    return SecretReference(text)


def _parse_provider(text: str) -> Provider:
    for provider in PROVIDERS:
        if provider == text:
            return provider
    raise ValueError(f"expected one of {', '.join(PROVIDERS)}")


def _parse_header_value(text: str) -> str:
    if not text.strip() or not text.isascii() or not text.isprintable():
        raise ValueError("expected printable ASCII text")
    return text.strip()


def _parse_api_version(text: str) -> str:
    if not _API_VERSION.fullmatch(text):
        raise ValueError(f"expected a version of Azure's interface such as {DEFAULT_AZURE_API_VERSION}")
    return text


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ValueError("expected a whole number of at least 1")
    return int(text)


def _parse_headroom(text: str) -> float:
    """The share that is left to others; unlike other percentages it may be 0, and must not be all."""
    if text.strip() in ("0", "0%"):
        return 0.0
    try:
        share = parse_percentage(text)
    except ValueError:
        share = 1.0
    if share >= 1:
        raise ValueError("expected a percentage such as 30% or 0.3, from 0 to less than 100%")
    return share
