"""Who is let in, asked of every request before Flower sees it.

Flower leaves some of its paths to everybody (its metrics, its static files), and may leave more in versions to come;
so the question is not left to its handlers.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler, stream_request_body

from keyfleet_workers.monitor.credentials import Credentials

__all__ = ["Gate", "Refusal", "RefusedHandler", "is_loopback", "is_proxied"]


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address without its port, can only be this machine. Names aren't looked up."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that is not let in."""

    status: int
    words: str


UNKNOWN_USER = Refusal(401, "A user and a password of this Flower's own are needed.")
OTHER_NAME = Refusal(
    403,
    "This Flower asks for no password, so it answers to localhost alone; with one (keyfleet flower --basic-auth-file) "
    "it can be reached by other names.",
)
THROUGH_PROXY = Refusal(
    403,
    "This Flower asks for no password, so it answers to this machine alone, and not through a proxy, which others may "
    "reach; with one (keyfleet flower --basic-auth-file) it can stand behind a proxy.",
)

SIGNS_OF_A_PROXY = ("Forwarded", "X-Forwarded-", "X-Real-Ip", "Via")
"""What headers begin with that proxies add and browsers don't."""


def is_proxied(request: HTTPServerRequest) -> bool:
    """Whether a proxy has sent the request on. It may come from anywhere then, whichever name it calls this machine by.

    nginx adds no header where nobody tells it to, but speaks HTTP/1.0, which browsers don't. A proxy that neither adds
    anything nor speaks it is not recognised.
    """
    return request.version == "HTTP/1.0" or any(name.startswith(SIGNS_OF_A_PROXY) for name in request.headers)


class Gate:
    """With credentials, it asks for them; without, it lets in who calls this machine by a name of its own, directly.

    Else a page from elsewhere could have its own name lead here, and act from within a browser on this machine; and
    behind a proxy here, which calls by such a name, everybody would be let in.
    """

    def __init__(self, credentials: Credentials, open_path: str) -> None:
        """`open_path` may be looked at by everybody."""
        self._credentials = credentials
        self._open_path = open_path

    def refusal(self, request: HTTPServerRequest) -> Refusal | None:
        """Why the request is not let in; None where it is."""
        if request.path == self._open_path and request.method in ("GET", "HEAD"):
            return None
        if len(self._credentials):
            return None if self.user(request) is not None else UNKNOWN_USER
        if is_proxied(request):
            return THROUGH_PROXY
        return None if is_loopback(request.host_name) else OTHER_NAME

    def user(self, request: HTTPServerRequest) -> str | None:
        """Who asks; None where nobody is asked for a name."""
        return self._credentials.user_of(request.headers.get("Authorization", ""))


@stream_request_body
class RefusedHandler(RequestHandler):
    """Answers a request that is not let in as soon as its headers have come; of its body nothing is kept."""

    def initialize(self, refusal: Refusal) -> None:
        self._refusal = refusal

    def check_xsrf_cookie(self) -> None:
        """It comes before `prepare`, and there is nothing here to be protected."""

    def prepare(self) -> None:
        self.set_status(self._refusal.status)
        if self._refusal.status == UNKNOWN_USER.status:
            self.set_header("WWW-Authenticate", 'Basic realm="Keyfleet", charset="UTF-8"')
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.set_header("Connection", "close")
        self.finish(f"{self._refusal.words}\n")

    def data_received(self, chunk: bytes) -> None:
        """Nobody reads it."""
