"""Flower, started beside a fleet, shows its workers and tickets, and neither secrets nor prompts."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

import pytest

from keyfleet.sim import SimConfig, SimLatency
from support import Command, Place, ServerProcess, bare_line, sim_key, start_command, wait_until, write_lines
from support.fixtures import StartSim
from support.scripted_server import unused_port
from support.secret_hunt import forms_of, traces_in

SECRET = "Zq7vXw2pLk9sTf4rBn6mYc1d"
BROKER_PASSWORD = "br0ker/w0rd@home"
MARKER = "prompt-of-ours-nobody-shall-read"

TABLE_OF_TASKS = "/tasks/datatable?draw=1&start=0&length=50&search[value]=&order[0][column]=0&order[0][dir]=asc"
TABLE_OF_TASKS += "&columns[0][data]=name"

APPLICATION = """
import os
from keyfleet.broker import celery_url
from keyfleet.tickets import make_app

app = make_app(celery_url(os.environ["KEYFLEET_BROKER_URL"]), "main")
"""


class Flower:
    """A running Flower."""

    def __init__(self, command: Command, port: int) -> None:
        self.command = command
        self._port = port

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


@pytest.fixture
def flower(place: Place, broker: ServerProcess) -> Iterator[Flower]:
    """Flower on a broker with a password."""
    with broker.client() as client:
        client.config_set("requirepass", BROKER_PASSWORD)
    place.settings["KEYFLEET_BROKER_URL"] = f"unix://:{quote(BROKER_PASSWORD, safe='')}@{broker.socket_path}"
    (place.directory / "seen_by_flower.py").write_text(APPLICATION, encoding="utf-8")
    port = unused_port()
    arguments = ["-A", "seen_by_flower", "flower", f"--port={port}", "--address=127.0.0.1", "--logging=debug"]
    env = {**place.env, "FLOWER_UNAUTHENTICATED_API": "true"}
    command = start_command(arguments, cwd=place.directory, env=env, program=("-m", "celery"))
    yield Flower(command, port)
    command.end()


def test_flower_shows_workers_and_tickets_and_neither_secrets_nor_prompts(
    place: Place, start_sim: StartSim, flower: Flower
) -> None:
    key = sim_key("one", "20/1 second", secret=SECRET)
    place.write_keys(start_sim(SimConfig(keys=(key,), latency=SimLatency(latency_ms=50))), (key,))
    faults = {3: "[[sim:500x1]]", 5: "[[sim:400x1]]", 7: "[[sim:slow_downx1]]"}
    lines = [bare_line(n, f"{MARKER} {faults.get(n, '')}") for n in range(400)]
    write_lines(place.directory / "in.jsonl", lines)
    wait_until(lambda: flower.get("/api/workers") != "", "Flower answers")
    place.start("worker", "--key", "one")
    place.start("run", "in.jsonl", "--no-workers")
    name = f"one@{socket.gethostname()}"
    tasks = wait_until(lambda: json.loads(flower.get("/api/tasks") or "{}"), "Flower sees tickets")
    wait_until(lambda: name in json.loads(flower.get("/api/workers?refresh=1") or "{}"), "Flower sees the worker")
    (task, *_) = tasks
    paths = ["/", "/workers", "/tasks", "/broker", "/metrics", f"/worker/{name}", f"/task/{task}", TABLE_OF_TASKS]
    paths += ["/api/workers", "/api/tasks", "/api/task/types", f"/api/task/info/{task}", "/api/queues/length"]
    pages = {path: wait_until(partial(flower.get, path), f"Flower has {path}") for path in paths}
    for path in ("/workers", f"/worker/{name}", "/api/workers"):
        assert name in pages[path]
    for path in (TABLE_OF_TASKS, f"/task/{task}", "/api/tasks"):
        assert "keyfleet.chunk" in pages[path]
    for path, page in {**pages, "its log": flower.command.stderr}.items():
        forms = [*forms_of(SECRET), BROKER_PASSWORD.encode(), quote(BROKER_PASSWORD, safe="").encode(), MARKER.encode()]
        assert traces_in(page.encode(), forms) == [], path
