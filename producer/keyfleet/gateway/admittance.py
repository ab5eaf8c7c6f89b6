"""Who may use the gateway."""

from __future__ import annotations

import ipaddress

from starlette.datastructures import Headers

from keyfleet.api import Refused, Reply, error_reply
from keyfleet.api.replies import NO_RETRY
from keyfleet.gateway.api_keys import ApiKeys

__all__ = ["Admittance", "is_loopback_name"]


class Admittance:
    """With API keys, those who send one. Without, everybody on this machine, and no web page in a browser there: one
    whose name was made to lead to this machine would reach the gateway under that name."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys

    def check(self, headers: Headers) -> None:
        """Raises Refused for those who may not."""
        if self._keys and not self.is_known(headers):
            raise Refused(_no_key(headers))
        if not self._keys and not is_loopback_name(_name_in(headers.get("host", ""))):
            message = (
                "without an API key of its own this gateway is for this machine alone, at 127.0.0.1 or localhost; "
                "start it with --api-key-file to reach it by another name"
            )
            raise Refused(error_reply(403, message, code="host_not_allowed"))

    def is_known(self, headers: Headers) -> bool:
        """Whether there is an API key, and the client has sent one."""
        given = _given_key(headers)
        return bool(self._keys) and given is not None and self._keys.accept(given)

    @property
    def is_open(self) -> bool:
        """Whether no API key is asked for."""
        return not self._keys


def is_loopback_name(name: str) -> bool:
    """Whether it is a name of this machine that leads nowhere else; nothing is, as old clients send no name."""
    if name.lower().rstrip(".") in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _name_in(host: str) -> str:
    """`host` without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _given_key(headers: Headers) -> bytes | None:
    """The key in `Authorization: Bearer KEY`, else in `api-key: KEY`, as Azure's clients send it."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip().encode("latin-1")
    given = headers.get("api-key")
    return None if given is None else given.strip().encode("latin-1")


def _no_key(headers: Headers) -> Reply:
    message = "the API key is none of this gateway's"
    if _given_key(headers) is None:
        message = "no API key was sent; expected this gateway's in `Authorization: Bearer KEY`"
    return error_reply(401, message, code="invalid_api_key", headers={**NO_RETRY, "www-authenticate": "Bearer"})
