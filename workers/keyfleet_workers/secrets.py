"""Secrets in the one process that uses them: read late, shown never, told apart by a fingerprint."""

from __future__ import annotations

import hashlib
import hmac
import re
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from keyfleet.config import HIDDEN, Environment, SecretReference, check_proxy_url
from keyfleet.errors import ConfigurationError

__all__ = ["Secret", "fingerprint", "resolve", "resolve_proxy"]

MAX_SECRET_BYTES = 16_384
"""A secret's file that is larger than this is another file; providers refuse such headers anyway."""

SCRYPT_N = 2**14
SCRYPT_R = 8
SCRYPT_P = 1
FINGERPRINT_BYTES = 8

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SENDABLE = re.compile(r"[\x20-\x7e]+")


class Secret:
    """A secret that only `reveal` gives away: not `repr`, `str`, `format`, `vars`, a copy, JSON or a pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself, to be put into a request and kept nowhere."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return format(HIDDEN, format_spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret can't be pickled: it stays in the process that uses it")


def resolve(reference: SecretReference, env: Environment) -> Secret:
    """What `reference` refers to, without blanks and line ends around it.

    Raises ConfigurationError that names the variable or the file, and never shows a value: for an unset variable, a
    file that can't be read, and a value that is empty or holds anything but printable ASCII, since a line break in
    it would let its rest pass as a header of its own.
    """
    value = reference.expand(env)
    if reference.is_file:
        value = _read_file(value, reference)
    value = value.strip()
    if not _SENDABLE.fullmatch(value):
        problem = "holds control characters or others that can't stand in a header" if value else "is empty"
        raise ConfigurationError(f"the secret from {_origin(reference)} {problem}", setting=_setting(reference))
    return Secret(value)


def resolve_proxy(reference: SecretReference, env: Environment) -> Secret:
    """A proxy's address; one without a scheme (`host:8080`) is an HTTP proxy, as for curl. Raises as `resolve` does."""
    url = resolve(reference, env).reveal()
    if "://" not in url:
        url = f"http://{url}"
    try:
        check_proxy_url(url)
    except ValueError as error:
        message = f"the proxy from {_origin(reference)}: {error}"
        raise ConfigurationError(message, setting=_setting(reference)) from None
    return Secret(url)


def fingerprint(secret: Secret, base_url: str) -> str:
    """16 hexadecimal characters that are the same for the same secret and host, everywhere, and reveal neither.

    They tell keys apart in Redis, so that one secret under two names is one quota. The salt can't be random, since
    hosts that have never met must agree; so anybody who reads Redis could try candidates. Against a real key's
    hundred bits and more that is hopeless; for the short keys of in-house servers a slow, memory-hard hash (RFC 7914;
    16 MiB and tens of milliseconds a try) makes it dear. It is computed once per worker. Weakness: a key that can
    be guessed in a few thousand tries can be confirmed by one who reads Redis.
    """
    digest = hashlib.scrypt(
        secret.reveal().encode(),
        salt=b"keyfleet:" + _normalised_host(base_url).encode(),
        n=SCRYPT_N,
        r=SCRYPT_R,
        p=SCRYPT_P,
        dklen=FINGERPRINT_BYTES,
    )
    return digest.hex()


def _normalised_host(base_url: str) -> str:
    """`host`, or `host:port` for a port that is not the scheme's own; path, case and scheme make no difference."""
    parts = urlsplit(base_url)
    host = (parts.hostname or "").rstrip(".")
    port = parts.port
    return host if port in (None, _DEFAULT_PORTS.get(parts.scheme.lower())) else f"{host}:{port}"


def _read_file(path: str, reference: SecretReference) -> str:
    problem: str | None = None
    try:
        with Path(path).expanduser().open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        if len(content) > MAX_SECRET_BYTES:
            problem = f"it is larger than {MAX_SECRET_BYTES} bytes"
        else:
            return content.decode("utf-8-sig")
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except ValueError:  # no UTF-8, or a NUL in the path
        problem = "it is no text"
    # Outside of the handlers: the path of a variable may be a secret in the wrong place, and OSError quotes the path.
    message = f"the secret from {_origin(reference)} can't be read: {problem}"
    raise ConfigurationError(message, setting=_setting(reference))


def _origin(reference: SecretReference) -> str:
    """The variable or file in words; literals show as ***."""
    if reference.is_file:
        named = "the file that {} names" if reference.variables else "the file {}"
        return named.format(", ".join(reference.variables) or str(reference).removeprefix("file:"))
    return ", ".join(reference.variables) or "the keys file"


def _setting(reference: SecretReference) -> str | None:
    return next(iter(reference.variables), None)
