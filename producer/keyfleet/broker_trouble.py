"""What is wrong where no usable broker answers, in words that say what to check."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import redis

__all__ = ["trouble_in_words"]

CHECK = "check KEYFLEET_BROKER_URL or --broker"

_HOSTNAME_MISMATCH = 62
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH."""


def trouble_in_words(error: redis.RedisError, *, is_tls: bool) -> str:
    """One sentence without anything of the error's own text, which may hold a part of the address."""
    if isinstance(error, redis.AuthenticationError):
        return "it refuses the user or password in its address; write them percent-encoded: redis://USER:PASSWORD@host"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return "its user may not run INFO; docs/operations.md has the ACL that Keyfleet needs"
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, ssl.SSLError):
            return _tls_trouble(one)
    for one in chain:
        if words := _network_trouble(one):
            asks = ", and whether that port speaks TLS" if is_tls else ""
            return f"{words}; {CHECK}{asks}"
    if is_tls:
        return "it ended the connection; it may want a client certificate (ssl_certfile and ssl_keyfile)"
    if any(isinstance(one, redis.ConnectionError | ConnectionResetError) for one in chain):
        return f"it ended the connection; a server that speaks TLS needs an address with rediss://; {CHECK}"
    return f"it doesn't answer as Redis does ({type(error).__name__}); {CHECK}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _tls_trouble(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _HOSTNAME_MISMATCH:
            return "its certificate is for another host; use the name that the certificate has"
        return "its certificate is not trusted here; name its CA's file with ?ssl_ca_certs=/path/ca.pem"
    reason = (error.reason or "").upper()
    if "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER" in reason or "HTTP_REQUEST" in reason:
        return "it doesn't speak TLS on this port; use its TLS port, or redis:// instead of rediss://"
    if "CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason:
        return "it wants a client certificate; name it with ?ssl_certfile=/path.pem&ssl_keyfile=/path.key"
    return f"TLS failed ({error.reason or type(error).__name__}); check the server's TLS settings"


def _network_trouble(error: BaseException) -> str | None:
    if isinstance(error, FileNotFoundError):
        return "a file that its address names, a certificate or the socket, does not exist"
    if isinstance(error, PermissionError):
        return "a file that its address names, a certificate or the socket, may not be read"
    if isinstance(error, socket.gaierror):
        return "its host's name is not known here"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, redis.TimeoutError | TimeoutError):
        return "it doesn't answer in time"
    return None
