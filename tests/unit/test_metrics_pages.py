"""The pages of a host's workers, and the server that serves them."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import pytest
import redis
from prometheus_client import CollectorRegistry, Counter

from keyfleet.errors import ConfigurationError
from keyfleet_workers.metrics.http_server import MetricsServer, free_port
from keyfleet_workers.metrics.pages import Pages
from support.metrics import page

PLAIN = ""


class Broker:
    """Stands for a client of the broker."""

    def __init__(self) -> None:
        self.is_there = True

    def ping(self) -> bool:
        if not self.is_there:
            raise redis.ConnectionError("no answer")
        return True


class Case:
    """Pages whose facts the test sets."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.serving = ["one:host"]
        self.is_live = True
        self.looks = 0
        registry = CollectorRegistry()
        Counter("keyfleet_x", "Counted", registry=registry).inc(3)
        self.pages = Pages(
            registry,
            cast(redis.Redis, self.broker),
            workers=lambda: self.serving,
            is_live=lambda: self.is_live,
            before_reading=self.look,
        )

    def look(self) -> None:
        self.looks += 1

    def status(self, path: str) -> int:
        return self.pages.at(path, PLAIN).status


@pytest.fixture
def case() -> Case:
    return Case()


@pytest.fixture
def url(case: Case) -> Iterator[str]:
    """The pages, served."""
    with MetricsServer(case.pages, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_metrics_come_in_the_format_that_is_asked_for(case: Case) -> None:
    plain = case.pages.at("/metrics", PLAIN)
    assert b"keyfleet_x_total 3.0" in plain.body
    assert plain.content_type.startswith("text/plain; version=")
    assert case.looks == 1
    open_metrics = case.pages.at("/metrics", "application/openmetrics-text; version=1.0.0")
    assert open_metrics.body.endswith(b"# EOF\n")


def test_a_host_is_ready_while_the_broker_answers_and_a_key_is_served(case: Case) -> None:
    assert case.status("/readyz") == 200
    case.broker.is_there = False
    assert case.status("/readyz") == 503
    case.broker.is_there, case.serving = True, []
    assert case.status("/readyz") == 503


def test_a_host_lives_whatever_its_broker_and_workers_do(case: Case) -> None:
    case.broker.is_there, case.serving = False, []
    assert case.status("/healthz") == 200
    case.is_live = False
    assert case.status("/healthz") == 503


def test_pages_are_served_and_others_are_not_found(case: Case, url: str) -> None:
    assert page(f"{url}/healthz") == (200, "live\n")
    assert "keyfleet_x_total 3.0" in page(f"{url}/metrics?name=x")[1]
    assert page(f"{url}/")[0] == 404
    with urllib.request.urlopen(urllib.request.Request(f"{url}/readyz", method="HEAD"), timeout=20) as answer:
        assert (answer.status, answer.read()) == (200, b"")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{url}/metrics", data=b"x", timeout=20)
    with caught.value as answer:
        assert answer.code == 501


def test_a_page_that_breaks_is_an_error_and_the_next_one_is_served(case: Case, url: str) -> None:
    looks = case.pages.before_reading
    case.pages.before_reading = lambda: 1 / 0  # type: ignore[assignment]
    status, text = page(f"{url}/metrics")
    assert (status, "division" in text) == (500, False)
    case.pages.before_reading = looks
    assert page(f"{url}/metrics")[0] == 200


def test_a_client_that_says_nothing_keeps_nobody_waiting(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with closing(socket.create_connection((host, int(port)))):
        assert page(f"{url}/healthz")[0] == 200


def test_a_port_that_is_taken_is_refused_with_the_options_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=rf"^--metrics-port: can't listen on 127\.0\.0\.1:{port}"
        ) as caught:
            free_port("127.0.0.1", port)
        with pytest.raises(ConfigurationError, match=r"^--metrics-port: "):
            MetricsServer(Case().pages, "127.0.0.1", port)
    assert caught.value.setting == "--metrics-port"
    assert free_port("127.0.0.1", 0) > 0


def test_an_address_that_is_none_is_refused_with_the_options_name() -> None:
    with pytest.raises(ConfigurationError, match=r"^--metrics-address: .* is no address") as caught:
        free_port("no such address", 0)
    assert caught.value.setting == "--metrics-address"
