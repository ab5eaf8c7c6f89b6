"""Workers of a run's own: they end with the run, and say in their log why they could not go on."""

from __future__ import annotations

import stat
from pathlib import Path

from keyfleet.running.local_workers import LocalWorkers
from support.events import wait_until


def test_workers_that_end_by_themselves_are_noticed_with_their_last_words(tmp_path: Path) -> None:
    workers = LocalWorkers(tmp_path / "logs" / "workers.log")
    assert not workers.has_failed()
    workers.start([], {"KEYFLEET_BROKER_URL": "http://wrong", "KEYFLEET_STATE_DIR": str(tmp_path)}, [])
    try:
        wait_until(workers.has_failed, "the workers have ended")
        assert "expected a Redis address" in workers.last_words()
        assert len(workers.last_words().splitlines()) <= 3
    finally:
        workers.stop()
    workers.stop()


def test_the_log_is_for_its_owner_alone(tmp_path: Path) -> None:
    workers = LocalWorkers(tmp_path / "logs" / "workers.log")
    workers.start(["--help"], {}, [])
    workers.stop()
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700


def test_of_a_long_log_only_the_end_is_read(tmp_path: Path) -> None:
    workers = LocalWorkers(tmp_path / "workers.log")
    workers.log_path.write_text("x" * 100_000 + "\none\ntwo\nthree\n")
    assert workers.last_words() == "one\ntwo\nthree"


def test_without_a_log_there_are_no_last_words(tmp_path: Path) -> None:
    assert LocalWorkers(tmp_path / "nowhere.log").last_words() == ""
