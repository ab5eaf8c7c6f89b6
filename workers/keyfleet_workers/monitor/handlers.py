"""The page and what it asks for: the overview, and actions on keys and jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import redis
from flower.views import BaseHandler
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, StaticFileHandler, authenticated, url

from keyfleet_workers.monitor.fleet_actions import ActionFailed
from keyfleet_workers.monitor.page_templates import PAGE_DIRECTORY

if TYPE_CHECKING:
    from keyfleet_workers.monitor.application import GuardedFlower

__all__ = ["ACTION_HEADER", "page_handlers"]

ACTION_HEADER = "X-Keyfleet-Action"
"""Sent with every action. A page of another site can't send it without asking first, which nobody grants."""

MAX_BODY_BYTES = 4096
"""Longest body of an action."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def page_handlers(prefix: str, version: str) -> list[Any]:
    """All of them, under `prefix`, which is empty or begins with a slash. `version` tells one release's files from
    another's."""
    files = f"{prefix}/keys/files/{version}/"
    return [
        url(f"{prefix}/keys", KeysPage, {"files_url": files}, name="keys"),
        url(f"{prefix}/keys/files/[^/]+/(.*)", StaticFileHandler, {"path": str(PAGE_DIRECTORY)}),
        url(f"{prefix}/keys/api/overview", OverviewHandler),
        url(f"{prefix}/keys/api/keys/([A-Za-z0-9._-]+)/(enable|disable|probe)", KeyActionHandler),
        url(f"{prefix}/keys/api/jobs/([A-Za-z0-9_-]+)/(pause|resume|cancel)", JobActionHandler),
    ]


class KeysPage(BaseHandler):  # type: ignore[misc, unused-ignore] # Flower has no types
    """The page itself, which asks for everything that changes."""

    application: GuardedFlower

    def initialize(self, files_url: str) -> None:
        self._files_url = files_url

    @authenticated
    def get(self) -> None:
        self.set_header("Content-Security-Policy", POLICY)
        self.render(
            "keys.html",
            fleet=self.application.fleet,
            files_url=self._files_url,
            api_url=f"{self.application.prefix}/keys/api",
            read_only=self.application.options.read_only,
            action_header=ACTION_HEADER,
        )


class _ApiHandler(BaseHandler):  # type: ignore[misc, unused-ignore] # Flower has no types
    """Answers with JSON, errors too: `{"error": "..."}`."""

    application: GuardedFlower

    async def off_the_loop(self, act: Callable[[], str]) -> str:
        """What `act` returns, which talks to Redis; its failures become this request's."""
        try:
            said = await IOLoop.current().run_in_executor(self.application.redis_executor, act)
        except ActionFailed as failed:
            raise HTTPError(failed.status, reason=None, log_message=failed.words) from None
        except redis.RedisError as error:
            raise HTTPError(*self.application.broker.fails(error)) from None
        self.application.broker.answers()
        return said

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Whoever has asked is told of what was refused or couldn't be done; the log of what nobody has foreseen."""
        if not isinstance(value, HTTPError):
            super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **about: Any) -> None:
        error = about.get("exc_info", (None, None))[1]
        words = (error.get_message() or error.reason) if isinstance(error, HTTPError) else None
        self.set_status(status_code)
        self.finish({"error": words or "this didn't work; Flower's log says why"})


class OverviewHandler(_ApiHandler):
    """How the fleet stands."""

    @authenticated
    async def get(self) -> None:
        try:
            picture = await self.application.picture.get()
        except redis.RedisError as error:
            raise HTTPError(*self.application.broker.fails(error)) from None
        self.application.broker.answers()
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Cache-Control", "no-store")
        self.finish(picture)


class _ActionHandler(_ApiHandler):
    """Acts for pages of this very site alone, and never in read-only mode."""

    def check_xsrf_cookie(self) -> None:
        """Flower's own check does nothing where nobody is asked for a password."""
        headers = self.request.headers
        site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
        is_from_here = site in ("same-origin", "none") if site else not origin or _host(origin) == self.request.host
        if not is_from_here or ACTION_HEADER not in headers:
            raise HTTPError(403, f"only this page may ask for that; a program sends the header {ACTION_HEADER}")

    def prepare(self) -> None:
        if self.application.options.read_only:
            raise HTTPError(403, "this Flower is read-only")

    async def act(self, action: Callable[[], str]) -> None:
        """Do it, and let everybody see what has changed."""
        try:
            said = await self.off_the_loop(action)
        finally:
            self.application.picture.forget()
        self.finish({"said": said})

    @property
    def user(self) -> str | None:
        """Who asks."""
        return self.application.gate.user(self.request)


def _host(origin: str) -> str:
    return urlsplit(origin).netloc


class KeyActionHandler(_ActionHandler):
    """Enables, disables or probes a key. The body is empty, or `{"reason": "..."}`."""

    @authenticated
    async def post(self, name: str, action: str) -> None:
        await self.act(partial(self.application.actions.on_key, name, action, self._reason_given(), self.user))

    def _reason_given(self) -> str:
        body = self.request.body
        if not body:
            return ""
        try:
            given = json.loads(body) if len(body) <= MAX_BODY_BYTES else None
        except ValueError:
            given = None
        reason = given.get("reason", "") if isinstance(given, dict) else None
        if not isinstance(reason, str):
            raise HTTPError(400, 'expected {"reason": "..."} or nothing')
        return reason


class JobActionHandler(_ActionHandler):
    """Pauses, resumes or cancels a job."""

    @authenticated
    async def post(self, job_id: str, action: str) -> None:
        await self.act(partial(self.application.actions.on_job, job_id, action, self.user))
