"""What a host's workers tell Prometheus and those who watch containers, and the log lines of their chunks."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from keyfleet.sim import SimConfig, SimProcess
from support import Command, Place, ServerProcess, bare_line, sim_key, wait_until, write_lines
from support.fleets import MODEL
from support.metrics import Samples, check_metrics, page
from support.scripted_server import unused_port
from support.server import running

pytestmark = pytest.mark.xdist_group("metrics")  # they share one host, which the last of them end

KEYS = (sim_key("a", "12/1 second"), sim_key("b", "12/1 second"))  # so that the third key is tried too
STRANGER = sim_key("stranger")
LINES = 30


@dataclass(frozen=True)
class Host:
    """A host's workers, with three keys of which the provider refuses one."""

    place: Place
    broker: ServerProcess
    workers: Command
    url: str

    def scrape(self) -> Samples:
        status, text = page(f"{self.url}/metrics")
        assert status == 200, text
        return Samples(text)

    def chunks(self) -> list[dict[str, Any]]:
        """The log lines of chunks."""
        lines = [json.loads(line) for line in self.workers.stderr.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == "chunk"]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """It has run a job of which one line fails for good, and one is tried twice."""
    place = Place(tmp_path_factory.mktemp("metrics"))
    with running(ServerProcess(tmp_path_factory.mktemp("s"))) as broker, SimProcess(SimConfig(keys=KEYS)) as sim:
        place.write_keys(sim, (*KEYS, STRANGER))
        port = unused_port()
        arguments = ("--all", "--metrics-port", str(port), "--log-format", "json", "--log-level", "info")
        temporary = place.directory / "tmp"
        temporary.mkdir()
        workers = place.start("worker", *arguments, "--broker", broker.url, TMPDIR=str(temporary))
        host = Host(place, broker, workers, f"http://127.0.0.1:{port}")
        wait_until(lambda: page(f"{host.url}/readyz")[0] == 200, "the host is ready")
        wait_until(lambda: host.scrape().sum("keyfleet_key_workers") == 3, "every key has a worker")
        prompts = ["[[sim:400]]", "[[sim:500x1]]", *["a prompt of ours"] * (LINES - 2)]
        write_lines(place.directory / "in.jsonl", [bare_line(n, text) for n, text in enumerate(prompts, start=1)])
        assert place.run("run", "in.jsonl", "--no-workers", "--broker", broker.url).code == 1
        yield host
        place.close()


def test_requests_calls_tokens_and_latencies_are_counted_by_model(host: Host) -> None:
    found = host.scrape()
    ended = {
        outcome: found.sum("keyfleet_requests_ended_total", model=MODEL, outcome=outcome)
        for outcome in ("succeeded", "failed")
    }
    assert ended == {"succeeded": LINES - 1, "failed": 1}
    assert found.sum("keyfleet_requests_returned_total", reason="retried") == 1
    assert found.sum("keyfleet_calls_total", result="success") == LINES - 1
    assert found.sum("keyfleet_calls_total") >= LINES + 1
    assert found.sum("keyfleet_fleet_latency_seconds_count", model=MODEL) == LINES
    assert found.sum("keyfleet_provider_latency_seconds_count") == found.sum("keyfleet_calls_total")
    assert found.sum("keyfleet_tokens_total", kind="reported") > 0
    assert found.sum("keyfleet_tokens_total", kind="reserved") >= found.sum("keyfleet_tokens_total", kind="reported")
    assert found.sum("keyfleet_tickets_total", what="served") >= 1


def test_the_whole_fleet_is_told_of_beside_the_workers(host: Host) -> None:
    wait_until(
        lambda: host.scrape().sum("keyfleet_key_state", key="stranger", state="revoked") == 1,
        "the key shows as refused",
    )
    found = host.scrape()
    assert found.sum("keyfleet_broker_up") == 1
    assert found.sum("keyfleet_key_state") == 3, "each key is in one state"
    assert found.sum("keyfleet_key_state", state="ready") == 2
    assert found.sum("keyfleet_workers") == found.sum("keyfleet_key_workers") == 3
    assert found.sum("keyfleet_queue_requests", model=MODEL) == 0
    assert found.sum("keyfleet_queue_keys", model=MODEL) >= 2
    assert found.sum("keyfleet_jobs", state="done") == 1


def test_a_scrape_is_as_prometheus_wants_it_and_names_nothing_private(host: Host) -> None:
    text = host.scrape().text
    private = [*(key.api_key for key in (*KEYS, STRANGER)), "a prompt of ours", "in.jsonl"]
    assert [one for one in private if one in text] == []
    problems = check_metrics(text)
    if problems is None:
        pytest.skip("promtool, of Debian's package prometheus, is not on this machine")
    assert problems == ""


def test_one_json_line_tells_of_each_chunk_and_of_no_content(host: Host) -> None:
    wait_until(lambda: sum(line["ends"].get("succeeded", 0) for line in host.chunks()) == LINES - 1, "all are logged")
    for line in host.chunks():
        assert (line["level"], line["queue"], line["model"]) == ("info", MODEL, MODEL)
        assert line["key"] in ("a", "b", "stranger")
        assert min(line["waited_s"], line["provider_s"], line["duration_s"]) >= 0
        assert [job["name"] for job in line["jobs"]] == ["in.jsonl"]
    assert sum(line["tokens"] for line in host.chunks()) == host.scrape().sum("keyfleet_tokens_total", kind="reported")
    assert "a prompt of ours" not in host.workers.stderr


def test_what_a_killed_worker_has_counted_stays_and_its_gauges_go(host: Host) -> None:
    before = host.scrape()
    logged = [json.loads(line) for line in host.workers.stderr.splitlines() if line.startswith("{")]
    pid = next(line["process"] for line in logged if line.get("key") == "a")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: host.scrape().sum("keyfleet_workers", key="a") == 0, "it is gone")
    after = host.scrape()
    for name in ("keyfleet_requests_ended_total", "keyfleet_provider_latency_seconds_sum"):
        assert after.of(name) == before.of(name)
    wait_until(lambda: host.scrape().sum("keyfleet_workers", key="a") == 1, "another one has begun")


def test_a_broker_that_is_away_makes_the_host_unready_and_not_dead(host: Host) -> None:
    host.broker.kill()
    wait_until(lambda: page(f"{host.url}/readyz")[0] == 503, "it isn't ready")
    assert page(f"{host.url}/healthz") == (200, "live\n")
    found = host.scrape()
    assert found.sum("keyfleet_broker_up") == 0
    assert found.sum("keyfleet_requests_ended_total") == LINES
    assert found.of("keyfleet_key_state") == {}


def test_the_end_leaves_no_files_and_no_process(host: Host) -> None:
    (directory,) = (host.place.directory / "tmp").glob("keyfleet-metrics-*")
    assert directory.stat().st_mode & 0o777 == 0o700
    host.workers.signal(signal.SIGTERM)
    host.workers.wait()
    assert list((host.place.directory / "tmp").iterdir()) == []
    host.place.wait_until_empty()
