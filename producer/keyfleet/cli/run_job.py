"""Running one job on a terminal or elsewhere, with progress, signals, summary and exit code."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.logging import RichHandler

from keyfleet.batch.endpoints import split_url
from keyfleet.batch.job import NothingToDo
from keyfleet.batch.parse import LineParser
from keyfleet.config import DEFAULT_BASE_URLS, Environment, KeySource, Settings, find_keys
from keyfleet.errors import ConfigurationError
from keyfleet.logs import configure_logging
from keyfleet.running import RunOptions, RunSession
from keyfleet.running.progress import PlainProgress, TerminalProgress
from keyfleet.running.quota_shares import QuotaShares
from keyfleet.running.snapshot import End, Snapshot
from keyfleet.running.summary import print_summary

__all__ = ["run_job"]


def run_job(run_options: RunOptions, settings: Settings, env: Environment, *, names_output: bool = True) -> int:
    """Run one job with progress and summary; returns the exit code. Raises KeyfleetError for what is misconfigured.

    `names_output=False` suits an output that will not be kept.
    """
    console = Console(stderr=True)
    _configure_logging(console, settings)
    LineParser("bare", run_options.url).close()  # a wrong --url is refused before any file is begun
    source = _find_keys(run_options, settings, env)
    session = RunSession(run_options, settings, env, source)
    try:
        with _noted_interrupts() as noted:
            opened = session.open()
            if opened is not None:
                return _say_nothing_to_do(console, opened)
            if source is not None:
                console.print(source.description, highlight=False, markup=False, soft_wrap=True)
            if not session.files.lines.resumable:
                console.print("standard input can't be read twice: an interruption can't be resumed", highlight=False)
            session.connect()
            if noted:
                raise KeyboardInterrupt
        return _run_with_progress(console, session, settings, names_output)
    except KeyboardInterrupt:  # before the run, or while its workers end
        console.print("interrupted; the same command goes on from here", highlight=False)
        return int(End.INTERRUPTED.value)
    finally:
        session.close()


@contextmanager
def _noted_interrupts() -> Iterator[list[int]]:
    """Interrupts that have come, also where somebody else's code swallows the exception, as some imports do."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _find_keys(run_options: RunOptions, settings: Settings, env: Environment) -> KeySource | None:
    """The keys, where workers are started here. Raises ConfigurationError."""
    own = settings.broker_url is None if run_options.use_local_workers is None else run_options.use_local_workers
    if not own:
        if settings.broker_url is None:
            raise ConfigurationError(
                "--no-workers needs a broker that running workers share; give --broker or set KEYFLEET_BROKER_URL",
                setting="--no-workers",
            )
        if run_options.url and split_url(run_options.url)[0] not in (None, DEFAULT_BASE_URLS["openai"]):
            raise ConfigurationError(
                "--url: running workers know their providers' addresses; give the path alone", setting="--url"
            )
        return None
    source = find_keys(
        option_path=run_options.keys_path,
        env=env,
        cwd=Path.cwd(),
        requests_per_minute=run_options.requests_per_minute,
        tokens_per_minute=run_options.tokens_per_minute,
    )
    source.check_variables(env)
    return source


def _run_with_progress(console: Console, session: RunSession, settings: Settings, names_output: bool) -> int:
    shares = QuotaShares()
    on_terminal = settings.progress and console.is_terminal
    progress = TerminalProgress(console) if on_terminal else PlainProgress()
    said_stopping = False

    def show(snapshot: Snapshot) -> None:
        nonlocal said_stopping
        shares.note(snapshot.fleet)
        if settings.progress:
            progress.show(snapshot)
        if snapshot.interrupted and not said_stopping:
            said_stopping = True
            _say_stopping(console, settings.timeout_s)

    def on_signal(number: int, frame: FrameType | None) -> None:
        session.interrupt()  # and nothing else: printing here could meet a print that is half done

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    began_s = time.monotonic()
    try:
        with progress:
            end = session.run(show)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    output = session.files.paths.output if names_output else None
    print_summary(console, session.tally, shares, elapsed_s=time.monotonic() - began_s, output=output)
    return _exit_code(console, session, end)


def _say_stopping(console: Console, timeout_s: float) -> None:
    console.print(
        f"stopping: waiting for the calls under way, up to {timeout_s:.0f} s each; "
        "Ctrl-C again stops at once, and the same command goes on where this stops",
        highlight=False,
    )


def _exit_code(console: Console, session: RunSession, end: End) -> int:
    if end is End.DONE:
        return session.files.exit_code
    if end is End.STOPPED:
        console.print(f"stopped: {session.stop_reason}", highlight=False, markup=False, soft_wrap=True)
    console.print("the same command goes on where this one stopped", highlight=False)
    return int(end.value)


def _say_nothing_to_do(console: Console, done: NothingToDo) -> int:
    console.print(
        f"nothing to do: all {done.finished_lines:,} lines have their result in {done.paths.output}"
        + (f" ({done.failed_lines:,} failed; --retry-failed sends those again)" if done.failed_lines else ""),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return done.exit_code


def _configure_logging(console: Console, settings: Settings) -> None:
    is_text = console.is_terminal and settings.log_format == "text"
    handler = RichHandler(console=console, show_path=False, markup=False) if is_text else None
    configure_logging(settings.log_level, settings.log_format, handler)
