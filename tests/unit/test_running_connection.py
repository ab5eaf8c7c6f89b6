"""What a run needs around it: the options of its own workers, and what is left behind at its end."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keyfleet import redis_keys
from keyfleet.broker import ServerWatch
from keyfleet.config import KeyConfig, KeySource, SecretReference, Settings
from keyfleet.ledger import JobLedger, JobOptions
from keyfleet.running.backend import Backend, concurrency_per_key, worker_arguments
from keyfleet.running.connection import Connection

if TYPE_CHECKING:
    from support.stand_in import StandIn


def settings(tmp_path: Path, **more: Any) -> Settings:
    return Settings(state_dir=tmp_path, **{"broker_url": "redis://:s3cret@127.0.0.1:1/0", **more})


def source(*workers: int, path: Path | None = None) -> KeySource:
    keys = tuple(
        KeyConfig(f"k{number}", SecretReference("sk-literal"), workers=count) for number, count in enumerate(workers)
    )
    return KeySource(keys, "keys", path)


@pytest.mark.parametrize(
    ("max_calls", "concurrency", "workers", "expected"),
    [
        (None, None, (1, 1), None),
        (None, 8, (1, 1), 8),
        (100, None, (1, 1), 50),
        (100, None, (1, 3), 25),
        (100, 8, (1, 1), 8),
        (100, 80, (1, 1), 50),
        (2, None, (1, 1, 1), 1),
    ],
)
def test_a_bound_of_all_calls_is_shared_by_the_workers(
    tmp_path: Path, max_calls: int | None, concurrency: int | None, workers: tuple[int, ...], expected: int | None
) -> None:
    found = concurrency_per_key(settings(tmp_path, max_calls=max_calls, concurrency=concurrency), source(*workers))
    assert found == expected


def test_workers_are_started_with_the_options_of_the_run(tmp_path: Path) -> None:
    given = settings(tmp_path, fleet="mine", use=0.7, concurrency=9, log_level=logging.DEBUG, log_format="json")
    arguments = worker_arguments(
        given,
        source(1, path=Path("keys.yaml")),
        base_url="https://mine.example/v1",
        requests_per_minute=60.0,
        tokens_per_minute=5000.0,
    )
    pairs = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert pairs == {
        "--fleet": "mine",
        "--use": "70%",
        "--log-level": "20",
        "--log-format": "json",
        "--concurrency": "9",
        "--keys": "keys.yaml",
        "--base-url": "https://mine.example/v1",
        "--requests-per-minute": "60.0",
        "--tokens-per-minute": "5000.0",
    }


def test_no_secret_stands_on_the_command_line_of_workers(tmp_path: Path) -> None:
    arguments = worker_arguments(settings(tmp_path), source(1))
    assert "s3cret" not in " ".join(arguments)
    assert "sk-literal" not in " ".join(arguments)


def test_the_embedded_server_forgets_a_run_that_is_done_and_only_that(stand_in: StandIn, tmp_path: Path) -> None:
    client = stand_in.client()
    ours, others = redis_keys.queues("run-1"), redis_keys.queues("run-2")
    given = settings(tmp_path, fleet="run-1")
    ledger = JobLedger(client, "run-1", "job", JobOptions(), declare_flags=False)
    for server, is_done, left in ((None, True, 2), (object(), False, 2), (object(), True, 1)):
        client.sadd(ours, "q")
        client.sadd(others, "q")
        backend = Backend(given, server)  # type: ignore[arg-type]
        found = Connection(backend, client, ServerWatch(), ledger)
        if is_done:
            found.job_is_done()
        found.forget_fleet()
        assert client.exists(ours, others) == left
