"""The gateway's own API keys: where they come from, and who has one. Kept as hashes only."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from keyfleet.config import Environment
from keyfleet.config.file_access import others_may_read
from keyfleet.errors import ConfigurationError

__all__ = ["VARIABLE", "ApiKeys"]

logger = logging.getLogger(__name__)

VARIABLE = "KEYFLEET_GATEWAY_API_KEYS"

_KEY = re.compile(r"[\x21-\x7e]+")


class ApiKeys:
    """Keys that are accepted. Without any, everybody is."""

    __slots__ = ("_digests",)

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = tuple({_digest(key.encode()): None for key in keys})

    @classmethod
    def find(cls, paths: Sequence[Path], env: Environment, given: Sequence[str] = ()) -> ApiKeys:
        """The keys of all files, of the environment, and `given` ones, those of `--api_key`. Raises ConfigurationError
        that shows none."""
        keys = _checked(given, "--api_key")
        for path in paths:
            keys += _keys_of(path)
        in_environment = re.split(r"[\s,]+", env.get(VARIABLE) or "")
        keys += _checked([key for key in in_environment if key], VARIABLE)
        return cls(keys)

    def __len__(self) -> int:
        return len(self._digests)

    def accept(self, key: bytes) -> bool:
        """Whether it is one of them. Takes the same time whichever it is, and however much of one it shares."""
        digest, is_known = _digest(key), False
        for one in self._digests:
            is_known |= hmac.compare_digest(one, digest)
        return is_known

    def __repr__(self) -> str:
        return f"ApiKeys({len(self)})"


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _checked(keys: Sequence[str], setting: str) -> list[str]:
    if not all(_KEY.fullmatch(key) for key in keys):
        message = f"{setting}: expected keys of ASCII letters, digits and signs, without blanks"
        raise ConfigurationError(message, setting=setting)
    return list(keys)


def _keys_of(path: Path) -> list[str]:
    """One key on each line; blank lines and those that begin with # are left out."""
    setting = "--api-key-file"
    try:
        text = path.read_text(encoding="utf-8-sig")
        is_open = others_may_read(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise ConfigurationError(f"{setting}: {path} can't be read ({reason})", setting=setting) from None
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        if not _KEY.fullmatch(key):
            message = f"{path}, line {number}: expected one key of ASCII letters, digits and signs, without blanks"
            raise ConfigurationError(f"{setting}: {message}", setting=setting)
        keys.append(key)
    if not keys:
        message = f"{path} holds no key; expected one on each line"
        raise ConfigurationError(f"{setting}: {message}", setting=setting)
    if is_open:
        logger.warning("%s holds the gateway's API keys and others on this machine may read it: chmod 600 it", path)
    return keys
