"""Running a job from the command line: refusals that touch nothing, signals, and exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from keyfleet.batch.formats import Row
from keyfleet.batch.job import JobFiles, JobOptions, open_job
from keyfleet.cli import run_job as run_job_module
from keyfleet.config import Environment, KeySource, Settings
from keyfleet.errors import ConfigurationError, InputError
from keyfleet.running import RunOptions
from keyfleet.running.fleet_status import FleetStatus
from keyfleet.running.snapshot import End, Snapshot
from keyfleet.running.tally import Tally

SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_job_module, "_configure_logging", lambda console, level: None)
    line = {"model": "m", "prompt": "p", "max_tokens": 1}
    (tmp_path / "in.jsonl").write_text(json.dumps(line) + "\n")
    return tmp_path


def run_job(directory: Path, *, env: dict[str, str] | None = None, broker: str | None = None, **options: Any) -> int:
    settings = Settings(state_dir=directory / "state", broker_url=broker, progress=False)
    run_options = RunOptions(**{"input_name": "in.jsonl", **options})
    return run_job_module.run_job(run_options, settings, Environment(env or {}))


def left_behind(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != "in.jsonl")


@pytest.mark.parametrize("broker", [None, "redis://127.0.0.1:1/0"])
def test_a_wrong_url_is_refused_before_any_file_is_begun(directory: Path, broker: str | None) -> None:
    with pytest.raises(ConfigurationError, match="--url"):
        run_job(directory, url="ftp://h/v1/x", broker=broker, env={"OPENAI_API_KEY": SECRET})
    assert left_behind(directory) == []


def test_without_keys_a_run_says_what_to_do(directory: Path) -> None:
    with pytest.raises(ConfigurationError, match="no API keys found; set OPENAI_API_KEY"):
        run_job(directory)
    assert left_behind(directory) == []


def test_a_keys_file_that_needs_an_unset_variable_is_named(directory: Path) -> None:
    (directory / "keys.yaml").write_text("keys:\n  - name: one\n    api_key: ${MISSING_KEY}\n")
    with pytest.raises(ConfigurationError, match="MISSING_KEY"):
        run_job(directory)


def test_no_workers_without_a_broker_says_what_to_give(directory: Path) -> None:
    with pytest.raises(ConfigurationError, match="--no-workers needs a broker"):
        run_job(directory, use_local_workers=False)


def test_running_workers_are_sent_to_no_address_of_a_producer(directory: Path) -> None:
    with pytest.raises(ConfigurationError, match="give the path alone"):
        run_job(directory, broker="redis://127.0.0.1:1/0", url="https://evil.example/v1/embeddings")


def test_a_missing_input_is_named(directory: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl"):
        run_job(directory, input_name="nowhere.jsonl", env={"OPENAI_API_KEY": SECRET})


def test_a_job_that_is_done_costs_nothing_and_ends_as_it_did(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = open_job("in.jsonl", None, JobOptions())
    assert isinstance(job, JobFiles)
    (line,) = list(job.lines)
    fed = job.lines.fingerprint_at()
    job.writer.write([Row(line.number, True, b"[]\n")], fed)
    job.finish(fed)
    job.close()
    assert run_job(directory, env={"OPENAI_API_KEY": SECRET}) == 1
    said = capsys.readouterr().err
    assert "nothing to do: all 1 lines have their result in in_results.jsonl" in " ".join(said.split())
    assert "--retry-failed" in said


class Session:
    """Stands for a run: it shows what it is told to, and ends as it is told to."""

    end = End.DONE
    play: Callable[[Session, Callable[[Snapshot], None]], None] = staticmethod(lambda session, show: None)
    connect_error: BaseException | None = None

    def __init__(self, options: RunOptions, settings: Settings, env: Environment, source: KeySource | None) -> None:
        self.interrupts = 0
        self.is_closed = False
        self.tally = Tally()
        self.stop_reason = "no key can work"
        lines = SimpleNamespace(resumable=options.input_name != "-")
        self.files = SimpleNamespace(lines=lines, exit_code=1, paths=SimpleNamespace(output=Path("out.jsonl")))
        made.append(self)

    def open(self) -> None:
        return None

    def connect(self) -> None:
        if self.connect_error is not None:
            raise self.connect_error

    def interrupt(self) -> int:
        self.interrupts += 1
        return self.interrupts

    def run(self, show: Callable[[Snapshot], None]) -> End:
        self.play(self, show)
        return self.end

    def snapshot(self) -> Snapshot:
        return Snapshot(0, 0, 1, 0, None, self.tally, FleetStatus(), {}, (), self.interrupts > 0)

    def close(self) -> None:
        self.is_closed = True


made: list[Session] = []


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Session]]:
    class Fresh(Session):
        pass

    monkeypatch.setattr(run_job_module, "RunSession", Fresh)
    yield Fresh
    assert all(one.is_closed for one in made)
    made.clear()


KEYS = {"OPENAI_API_KEY": SECRET}


def said_by(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_a_run_that_is_done_ends_with_its_jobs_code(
    session: type[Session], directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job(directory, env=KEYS) == 1
    said = said_by(capsys)
    assert said.startswith("keys: 1 from the environment (OPENAI_API_KEY)")
    assert "Results: out.jsonl" in said
    assert SECRET not in said


def test_a_run_that_stopped_says_why_and_ends_with_three(
    session: type[Session], directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session.end = End.STOPPED
    assert run_job(directory, env=KEYS) == 3
    said = said_by(capsys)
    assert "stopped: no key can work" in said
    assert "the same command goes on where this one stopped" in said


def test_standard_input_is_said_not_to_be_resumable(
    session: type[Session], directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_job(directory, env=KEYS, input_name="-", output=Path("out.jsonl"))
    assert "standard input can't be read twice" in said_by(capsys)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_in_order_and_says_so_once(
    session: type[Session], directory: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    def play(one: Session, show: Callable[[Snapshot], None]) -> None:
        show(one.snapshot())
        os.kill(os.getpid(), number)
        show(one.snapshot())
        show(one.snapshot())
        assert one.interrupts == 1

    before = signal.getsignal(number)
    session.play, session.end = staticmethod(play), End.INTERRUPTED
    assert run_job(directory, env=KEYS) == 130
    assert said_by(capsys).count("waiting for the calls under way, up to 600 s each; Ctrl-C again stops at once") == 1
    assert signal.getsignal(number) is before


def test_an_interrupt_while_it_connects_is_one_too(
    session: type[Session], directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session.connect_error = KeyboardInterrupt()
    assert run_job(directory, env=KEYS) == 130
    assert "the same command goes on from here" in said_by(capsys)


def test_an_interrupt_that_somebody_elses_code_swallows_is_one_too(
    session: type[Session], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(self: Session) -> None:
        with contextlib.suppress(BaseException):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(session, "connect", connect)
    before = signal.getsignal(signal.SIGINT)
    assert run_job(directory, env=KEYS) == 130
    assert signal.getsignal(signal.SIGINT) is before
