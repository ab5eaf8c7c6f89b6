"""The broker's address: as people write it, as redis-py reads it, and as Celery's transport wants it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from redis import connection

__all__ = ["celery_url", "check_address", "has_password", "passwords_in", "redis_url", "with_password"]

SCHEMES = ("redis", "rediss", "unix", "redis+socket")

EXPECTED = "expected a Redis address such as redis://host:6379/0, rediss://… or unix:///path.sock"

ENCODE = "; in a name or password `/`, `@`, `:`, `#`, `?` and `%` are written as %2F, %40, %3A, %23, %3F and %25"

_KOMBU_CERT_REQS = {"none": "CERT_NONE", "optional": "CERT_OPTIONAL", "required": "CERT_REQUIRED"}
"""How kombu spells `ssl_cert_reqs` in all its versions. It asks for no certificate at all where it isn't given."""

_read_url: Any = connection.parse_url  # it has no types

_PASSED_ON = ("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_certfile", "ssl_keyfile", "ssl_password")


def redis_url(url: str) -> str:
    """`url` as redis-py spells it."""
    scheme, _, rest = url.partition("://")
    return f"{'unix' if scheme.lower() == 'redis+socket' else scheme.lower()}://{rest}"


def check_address(url: str) -> str:
    """`url`, if it is an address of a Redis-compatible server. Raises ValueError, which shows nothing of it."""
    scheme, separator, rest = url.partition("://")
    if scheme.lower() not in SCHEMES or not separator or not rest:
        raise ValueError(EXPECTED)
    problem = None
    try:
        parts = urlsplit(redis_url(url))
        options = _read_url(redis_url(url))
        _ = parts.port
        is_whole = bool(parts.hostname) if scheme.lower().startswith("rediss") else True
        if parts.fragment or "@" in parts.path or not is_whole:
            problem = EXPECTED + ENCODE
        elif options.get("ssl_cert_reqs", "required") not in _KOMBU_CERT_REQS:
            problem = "ssl_cert_reqs: expected required, optional or none"
    except ValueError:  # its message quotes the part of a password that stood where a port should
        problem = EXPECTED + ENCODE
    if problem:
        raise ValueError(problem)
    return url


def passwords_in(url: str) -> tuple[str, ...]:
    """What must not be seen of an address: its password and that of its client's key, as written and decoded."""
    options = _read_url(redis_url(url))
    found = [str(options[name]) for name in ("password", "ssl_password") if options.get(name)]
    return tuple({form for value in found for form in (value, quote(value, safe=""))})


def has_password(url: str) -> bool:
    """Whether `url` has a password for the server."""
    return bool(_read_url(redis_url(url)).get("password"))


def with_password(url: str, password: str) -> str:
    """`url`, which has no password, with this one."""
    scheme, _, rest = url.partition("://")
    where = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    user, separator, host = rest[:where].rpartition("@")
    return f"{scheme}://{user.rstrip(':') if separator else ''}:{quote(password, safe='')}@{host}{rest[where:]}"


def celery_url(url: str) -> str:
    """`url` as Celery's transport spells it: for the very server, user, database and TLS that redis-py reads."""
    options = _read_url(redis_url(url))
    user = _user(options)
    database = int(options.get("db", 0))
    if "path" in options:
        query = f"?virtual_host={database}" if database else ""
        return f"redis+socket://{user}{quote(options['path'])}{query}"
    host = options.get("host", "localhost")
    where = f"[{host}]" if ":" in host else host
    is_tls = redis_url(url).startswith("rediss://")
    address = f"{'rediss' if is_tls else 'redis'}://{user}{where}:{options.get('port', 6379)}/{database}"
    return f"{address}?{urlencode(_tls(options))}" if is_tls else address


def _user(options: dict[str, Any]) -> str:
    name, password = (quote(str(options.get(part) or ""), safe="") for part in ("username", "password"))
    return f"{name}:{password}@" if name or password else ""


def _tls(options: dict[str, Any]) -> dict[str, str]:
    wanted = {"ssl_cert_reqs": _KOMBU_CERT_REQS[str(options.get("ssl_cert_reqs", "required"))]}
    if "ssl_check_hostname" in options:
        wanted["ssl_check_hostname"] = "true" if options["ssl_check_hostname"] else "false"
    return {**wanted, **{name: str(options[name]) for name in _PASSED_ON if name in options}}
