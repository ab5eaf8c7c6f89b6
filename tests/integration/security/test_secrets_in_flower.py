"""Flower, started beside a fleet, shows its workers and tickets, and neither secrets nor prompts."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

import pytest

from keyfleet.sim import SimConfig, SimLatency
from support import Place, ServerProcess, bare_line, sim_key, wait_until, write_lines
from support.fixtures import StartSim
from support.flower import PASSWORD, TABLE_OF_TASKS, Flower
from support.secret_hunt import forms_of, traces_in

SECRET = "Zq7vXw2pLk9sTf4rBn6mYc1d"
BROKER_PASSWORD = "br0ker/w0rd@home"
MARKER = "prompt-of-ours-nobody-shall-read"


@pytest.fixture
def flower(place: Place, broker: ServerProcess) -> Iterator[Flower]:
    """Flower on a broker with a password."""
    with broker.client() as client:
        client.config_set("requirepass", BROKER_PASSWORD)
    url = f"unix://:{quote(BROKER_PASSWORD, safe='')}@{broker.socket_path}"
    place.settings["KEYFLEET_BROKER_URL"] = url
    flower = Flower(place, url)
    yield flower
    flower.end()


def test_flower_shows_workers_and_tickets_and_neither_secrets_nor_prompts(
    place: Place, start_sim: StartSim, flower: Flower
) -> None:
    key = sim_key("one", "20/1 second", secret=SECRET)
    place.write_keys(start_sim(SimConfig(keys=(key,), latency=SimLatency(latency_ms=50))), (key,))
    faults = {3: "[[sim:500x1]]", 5: "[[sim:400x1]]", 7: "[[sim:slow_downx1]]"}
    lines = [bare_line(n, f"{MARKER} {faults.get(n, '')}") for n in range(4000)]  # more than there is time for
    write_lines(place.directory / "in.jsonl", lines)
    wait_until(lambda: flower.get("/api/workers") != "", "Flower answers")
    name = f"one@{socket.gethostname()}"
    place.start("worker", "--key", "one")
    flower.wait_until_it_hears_of(name)
    place.start("run", "in.jsonl", "--no-workers")
    tasks = wait_until(lambda: json.loads(flower.get("/api/tasks") or "{}"), "Flower sees tickets")
    wait_until(lambda: name in json.loads(flower.get("/api/workers?refresh=1") or "{}"), "Flower sees the worker")
    (task, *_) = tasks
    paths = ["/", "/workers", "/tasks", "/broker", "/metrics", f"/worker/{name}", f"/task/{task}", TABLE_OF_TASKS]
    paths += ["/api/workers", "/api/tasks", "/api/task/types", f"/api/task/info/{task}", "/api/queues/length"]
    paths += ["/keys", "/keys/api/overview"]
    pages = {path: wait_until(partial(flower.get, path), f"Flower has {path}") for path in paths}
    for path in ("/workers", f"/worker/{name}", "/api/workers"):
        assert name in pages[path]
    assert '"name":"one"' in pages["/keys/api/overview"]
    for path in (TABLE_OF_TASKS, f"/task/{task}", "/api/tasks"):
        assert "keyfleet.chunk" in pages[path]
    for path, page in {**pages, "its log": flower.command.stderr}.items():
        forms = [*forms_of(SECRET), BROKER_PASSWORD.encode(), quote(BROKER_PASSWORD, safe="").encode(), MARKER.encode()]
        forms += forms_of(PASSWORD)
        assert traces_in(page.encode(), forms) == [], path
