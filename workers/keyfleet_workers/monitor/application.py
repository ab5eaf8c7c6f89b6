"""Flower as `keyfleet flower` runs it."""

from __future__ import annotations

import logging
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import flower
from flower.app import Flower
from flower.options import default_options
from flower.urls import settings as flower_settings
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from tornado.web import GZipContentEncoding, RequestHandler

from keyfleet.broker import celery_url, connect
from keyfleet.errors import ConfigurationError
from keyfleet.tickets import make_app
from keyfleet.version import __version__
from keyfleet_workers.monitor.bounded_server import BoundedServer
from keyfleet_workers.monitor.broker_standing import BrokerStanding
from keyfleet_workers.monitor.credentials import Credentials
from keyfleet_workers.monitor.fleet_actions import FleetActions
from keyfleet_workers.monitor.gate import Gate, RefusedHandler
from keyfleet_workers.monitor.handlers import page_handlers
from keyfleet_workers.monitor.page_document import read_page
from keyfleet_workers.monitor.page_headers import PageHeaders
from keyfleet_workers.monitor.page_templates import PageTemplates
from keyfleet_workers.monitor.refusal_log import RefusalLog
from keyfleet_workers.monitor.rows import COLUMNS, format_row
from keyfleet_workers.monitor.shared_picture import SharedPicture

__all__ = ["DEFAULT_MAX_TASKS", "FlowerTerms", "GuardedFlower"]

logger = logging.getLogger(__name__)

DEFAULT_MAX_TASKS = 10_000
"""Chunks that Flower keeps in memory."""

FORGET_WORKERS_S = 3600
"""Workers that are gone for so long are shown no more: each container's has a name of its own (s)."""

POLLED = ("/keys/api/overview", "/workers", "/tasks/datatable", "/api/workers", "/metrics", "/healthcheck")
"""What pages and others ask for every few seconds: no line of the log for each, also while the broker is away."""

REDIS_THREADS = 4
"""Readings and actions at the same time, apart from what Flower itself asks."""

OPENS_API = "FLOWER_UNAUTHENTICATED_API"
"""Set to open Flower's API to everybody, pages of other sites included."""


@dataclass(frozen=True, slots=True)
class FlowerTerms:
    """How Flower is run. `url_prefix` is the path that it stands under, without slashes around it."""

    broker_url: str = field(repr=False)
    fleet: str
    credentials: Credentials = field(default_factory=Credentials)
    read_only: bool = False
    max_tasks: int = DEFAULT_MAX_TASKS
    url_prefix: str = ""


class GuardedFlower(Flower):  # type: ignore[misc, unused-ignore] # Flower has no types
    """Flower behind a gate, with the page of keys. Opens no connection before it is started."""

    def __init__(self, terms: FlowerTerms, io_loop: IOLoop, *, declare_flags: bool = True) -> None:
        self.fleet = terms.fleet
        self.prefix = f"/{terms.url_prefix}" if terms.url_prefix else ""
        self.gate = Gate(terms.credentials, f"{self.prefix}/healthcheck")
        self.refusals = RefusalLog(io_loop.call_later)
        self.broker = BrokerStanding()
        self.server: BoundedServer | None = None
        if os.environ.pop(OPENS_API, None):
            logger.warning("%s has no effect here: nothing is opened to everybody", OPENS_API)
        app = make_app(celery_url(terms.broker_url), terms.fleet)
        super().__init__(options=_options(terms), capp=app, io_loop=io_loop, **self._settings())
        self.redis_executor = ThreadPoolExecutor(REDIS_THREADS, thread_name_prefix="keyfleet-keys")
        client = connect(terms.broker_url)
        self.picture = SharedPicture(partial(read_page, client, terms.fleet), self.redis_executor)
        self.actions = FleetActions(client, terms.fleet, declare_flags=declare_flags)
        self.add_handlers(".*", page_handlers(self.prefix, __version__))

    def _settings(self) -> dict[str, Any]:
        templates = Path(flower.__file__).parent / "templates"
        return {
            **flower_settings,
            "debug": False,
            "template_loader": PageTemplates(str(templates)),
            "transforms": [PageHeaders, GZipContentEncoding],
            "static_url_prefix": f"{self.prefix}/static/",
            "login_url": f"{self.prefix}/login",
        }

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Asks the gate before anything else."""
        refusal = self.gate.refusal(request)
        if refusal is not None:
            self.refusals.tell(request, refusal.status)
            return self.get_handler_delegate(request, RefusedHandler, {"refusal": refusal})
        return super().find_handler(request, **kwargs)

    def log_request(self, handler: RequestHandler) -> None:
        """Tells of what was changed and what failed; at debug level of everything. Of refusals is told elsewhere."""
        request = handler.request
        is_asked_again = request.path.startswith(tuple(f"{self.prefix}{path}" for path in POLLED))
        is_plain = handler.get_status() < 400 and request.method in ("GET", "HEAD")
        if logger.isEnabledFor(logging.DEBUG) or not (
            is_asked_again or is_plain or isinstance(handler, RefusedHandler)
        ):
            super().log_request(handler)

    def listen_on(self, address: str, port: int) -> int:
        """Listen; returns the port, which a 0 leaves to the system. Raises ConfigurationError."""
        try:
            sockets = bind_sockets(port, address=address)
        except OSError as error:
            message = f"--address {address} --port {port}: nobody can listen there ({error.strerror or error})"
            raise ConfigurationError(message, setting="--port") from None
        self.server = BoundedServer(self)
        self.server.add_sockets(sockets)
        return int(sockets[0].getsockname()[1])

    def serve(self) -> None:
        """Follow the fleet's events and answer, until a signal ends it. Main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self.io_loop.asyncio_loop.add_signal_handler(number, self.stop)
        self.start()

    def stop(self) -> None:
        """End `serve`; nothing is kept."""
        if self.server is not None:
            self.server.stop()
        self.redis_executor.shutdown(wait=False, cancel_futures=True)
        super().stop()


def _options(terms: FlowerTerms) -> SimpleNamespace:
    """Flower's own options, of this application alone. Nothing is written to disk, and what is kept is bounded."""
    own = {
        "basic_auth": terms.credentials.pairs() or None,
        "url_prefix": terms.url_prefix or None,
        "read_only": terms.read_only,
        "max_tasks": terms.max_tasks,
        "purge_offline_workers": FORGET_WORKERS_S,
        "persistent": False,
        "tasks_columns": COLUMNS,
        "format_task": format_row,
        "natural_time": False,
    }
    return SimpleNamespace(**{**default_options.as_dict(), **own})
