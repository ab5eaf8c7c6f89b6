"""Who may use Flower: users with passwords from a file or the environment, or one that is made up."""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from keyfleet.config import Environment
from keyfleet.config.file_access import others_may_read
from keyfleet.errors import ConfigurationError

__all__ = ["OPTION", "VARIABLE", "Credentials"]

logger = logging.getLogger(__name__)

VARIABLE = "KEYFLEET_FLOWER_BASIC_AUTH"
OPTION = "--basic-auth-file"

MADE_UP_USER = "keyfleet"

MADE_UP_BYTES = 18
"""Randomness of a password that is made up: nobody guesses 144 bits."""

_PAIR = re.compile(r"[\x21-\x39\x3b-\x7e]+:[\x21-\x7e]+")


class Credentials:
    """`user:password` pairs, of HTTP's basic authentication. Without any, everybody is let in."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[str] = ()) -> None:
        self._pairs = tuple(dict.fromkeys(pairs))

    @classmethod
    def find(cls, path: Path | None, env: Environment) -> Credentials:
        """Those of the file and of the environment. Raises ConfigurationError that shows none of them."""
        found = _read(path) if path is not None else []
        in_environment = (env.get(VARIABLE) or "").split()
        return cls([*found, *(_checked(pair, VARIABLE) for pair in in_environment)])

    @classmethod
    def made_up(cls) -> Credentials:
        """One user with a password that nobody has had before."""
        return cls([f"{MADE_UP_USER}:{secrets.token_urlsafe(MADE_UP_BYTES)}"])

    def user_of(self, header: str) -> str | None:
        """Whose `Authorization` header this is; None for nobody's. Takes the same time whichever pair it is."""
        scheme, _, encoded = header.partition(" ")
        try:
            given = base64.b64decode(encoded.strip(), validate=True) if scheme.lower() == "basic" else b""
        except (binascii.Error, ValueError):
            return None
        found = [pair for pair in self._pairs if hmac.compare_digest(pair.encode(), given)]
        return found[0].partition(":")[0] if found else None

    def pairs(self) -> list[str]:
        """All pairs in plain text, as Flower's own check wants them."""
        return list(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __repr__(self) -> str:
        return f"Credentials({len(self)})"


def _checked(pair: str, where: str) -> str:
    if not _PAIR.fullmatch(pair):
        message = f"{where}: expected user:password of ASCII letters, digits and signs, without blanks"
        raise ConfigurationError(message, setting=where)
    return pair


def _read(path: Path) -> list[str]:
    """One pair on each line; blank lines and those that begin with # are left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        is_open = others_may_read(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise ConfigurationError(f"{OPTION}: {path} can't be read ({reason})", setting=OPTION) from None
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    pairs = [
        _checked(line, f"{OPTION}: {path}, line {number}")
        for number, line in lines
        if line and not line.startswith("#")
    ]
    if not pairs:
        raise ConfigurationError(f"{OPTION}: {path} holds nobody; expected user:password on each line", setting=OPTION)
    if is_open:
        logger.warning("%s holds passwords and others on this machine may read it: chmod 600 it", path)
    return pairs
