"""Flower as a real process beside a fleet."""

from __future__ import annotations

import urllib.error
import urllib.request

from keyfleet.broker import celery_url
from keyfleet.tickets import make_app
from support.commands import Command, start_command
from support.events import wait_until
from support.place import Place
from support.scripted_server import unused_port

__all__ = ["TABLE_OF_TASKS", "Flower"]

TABLE_OF_TASKS = "/tasks/datatable?draw=1&start=0&length=50&search[value]=&order[0][column]=0&order[0][dir]=asc"
TABLE_OF_TASKS += "&columns[0][data]=name"

APPLICATION = """
import os
from keyfleet.broker import celery_url
from keyfleet.tickets import make_app

app = make_app(celery_url(os.environ["KEYFLEET_BROKER_URL"]), "main")
"""


class Flower:
    """Flower on the broker at `url`; its files go where the place's commands are typed."""

    def __init__(self, place: Place, url: str) -> None:
        self._port = unused_port()
        self._app = make_app(celery_url(url), "main")
        (place.directory / "seen_by_flower.py").write_text(APPLICATION, encoding="utf-8")
        arguments = ["-A", "seen_by_flower", "flower", f"--port={self._port}", "--address=127.0.0.1", "--logging=debug"]
        env = {**place.env, "KEYFLEET_BROKER_URL": url, "FLOWER_UNAUTHENTICATED_API": "true"}
        self.command: Command = start_command(arguments, cwd=place.directory, env=env, program=("-m", "celery"))

    def get(self, path: str) -> str:
        """What stands at `path`; empty while it is not there."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=20) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            error.close()
            return ""
        except OSError:
            assert self.command.code is None, self.command.stderr
            return ""

    def wait_until_it_hears_of(self, worker: str) -> None:
        """Wait until it takes the worker's events, and the worker sends those of tickets, which is asked for as Flower
        itself does every five seconds: of a chunk that has begun before, nothing is told until its end."""
        wait_until(lambda: f'flower_worker_online{{worker="{worker}"}}' in self.get("/metrics"), "Flower hears of it")
        wait_until(lambda: self._app.control.enable_events([worker], reply=True), "the worker tells of tickets")

    def end(self) -> None:
        """Kill it."""
        self.command.end()
