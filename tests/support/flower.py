"""Flower as a real process beside a fleet."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any

from keyfleet.broker import celery_url
from keyfleet.tickets import make_app
from support.commands import Command
from support.events import wait_until
from support.place import Place
from support.scripted_server import unused_port

__all__ = ["PASSWORD", "TABLE_OF_TASKS", "USER", "Flower"]

TABLE_OF_TASKS = "/tasks/datatable?draw=1&start=0&length=50&search[value]=&order[0][column]=0&order[0][dir]=asc"
TABLE_OF_TASKS += "&columns[0][data]=name"

USER, PASSWORD = "ops", "of-the-tests"
"""Who may use it."""


class Flower:
    """`keyfleet flower` on the broker at `url`; its files go where the place's commands are typed."""

    def __init__(self, place: Place, url: str, *arguments: str) -> None:
        port = unused_port()
        self.url = f"http://127.0.0.1:{port}"
        self._app = make_app(celery_url(url), "main")
        users = place.directory / "users.txt"
        users.touch(mode=0o600)
        users.write_text(f"{USER}:{PASSWORD}\n", encoding="utf-8")
        own = ["--port", str(port), "--basic-auth-file", str(users), "--log-level", "debug"]
        self.command: Command = place.start("flower", *own, *arguments, KEYFLEET_BROKER_URL=url)

    def get(self, path: str) -> str:
        """What stands at `path`; empty while it is not there."""
        text: str = self.ask(path)[1]
        return text

    def post(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """What an action answers, asked for as the page does: (status, JSON)."""
        text = json.dumps(body).encode() if body is not None else b""
        status, answer = self.ask(path, text, **{"X-Keyfleet-Action": "1"})
        return status, json.loads(answer or "null")

    def ask(self, path: str, body: bytes | None = None, *, user: str = f"{USER}:{PASSWORD}", **headers: str) -> Any:
        """(status, text) of an answer; 0 while nobody listens. Nobody asks where `user` is empty."""
        if user:
            headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        request = urllib.request.Request(f"{self.url}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode() if body is not None else ""
        except OSError:
            assert self.command.code is None, self.command.stderr
            return 0, ""

    def overview(self) -> Any:
        """What the page of keys shows; empty while it can't be had."""
        return json.loads(self.get("/keys/api/overview") or "{}")

    def wait_until_it_answers(self) -> None:
        """Wait until it listens."""
        wait_until(lambda: self.get("/healthcheck") == "OK", "Flower answers")

    def wait_until_it_hears_of(self, worker: str) -> None:
        """Wait until it takes the worker's events, and the worker sends those of tickets, which is asked for as Flower
        itself does every five seconds: of a chunk that has begun before, nothing is told until its end."""
        wait_until(lambda: f'flower_worker_online{{worker="{worker}"}}' in self.get("/metrics"), "Flower hears of it")
        wait_until(lambda: self._app.control.enable_events([worker], reply=True), "the worker tells of tickets")

    def end(self) -> None:
        """Kill it."""
        self.command.end()
