"""Progress and summary: what a person reads while a run goes on, and at its end."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from keyfleet.contract import AttemptError, Outcome
from keyfleet.running import progress as progress_module
from keyfleet.running.fleet_status import FleetStatus, LimitStatus, WorkerStatus
from keyfleet.running.progress import PlainProgress, TerminalProgress, duration_text, key_shares, waiting_text
from keyfleet.running.quota_shares import QuotaShares
from keyfleet.running.snapshot import Snapshot, lines_estimate
from keyfleet.running.summary import print_summary
from keyfleet.running.tally import Tally


class Clock:
    """Monotonic time as the tests want it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def worker(
    name: str,
    *,
    in_flight: int = 1,
    used: int | None = None,
    short: bool = False,
    rate_limited: int = 0,
    retried: int = 0,
) -> WorkerStatus:
    limits = () if used is None else (LimitStatus("q", "requests", 100, 60, used),)
    totals = {"rate_limited": rate_limited, "retried": retried}
    return WorkerStatus(name, "host", in_flight, 32, short, {}, limits, totals)


def success(tokens: int = 10) -> Outcome:
    return Outcome(id="1", ok=True, status=200, body=b"", attempts=1, key_name="one", tokens=tokens)


def snapshot(
    *workers: WorkerStatus,
    tally: Tally | None = None,
    finished: int = 0,
    failed: int = 0,
    in_window: int = 5,
    total: int | None = None,
    waits: dict[str, int] | None = None,
    notes: tuple[str, ...] = (),
    blocked: tuple[str, ...] = (),
    interrupted: bool = False,
) -> Snapshot:
    fleet = FleetStatus(tuple(workers))
    waiting = waits or {}
    return Snapshot(
        finished, failed, in_window, 2, total, tally or Tally(), fleet, waiting, notes, interrupted, blocked=blocked
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (3600, "1 h 00 min"), (7530, "2 h 05 min")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_the_number_of_lines_is_told_from_the_part_that_was_read() -> None:
    assert lines_estimate(100, position_bytes=1000, total_bytes=5000, limit_lines=None) == 500
    assert lines_estimate(100, position_bytes=1000, total_bytes=5000, limit_lines=20) == 20
    assert lines_estimate(100, position_bytes=1000, total_bytes=None, limit_lines=None) is None
    assert lines_estimate(0, position_bytes=0, total_bytes=5000, limit_lines=None) is None


def test_a_plain_line_tells_rates_and_the_time_left(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    plain = PlainProgress()
    plain.show(snapshot(worker("one"), tally=tally))
    assert capsys.readouterr().err == ""
    for _ in range(100):
        tally.add(success(tokens=6))
    clock.now_s += 20.0
    plain.show(snapshot(worker("one", in_flight=3), tally=tally, finished=100, failed=1, total=600))
    line = capsys.readouterr().err
    assert line == ("100 of about 600 done, 1 failed, 3 in flight, 5.0 requests/s, 1,800 tokens/min, 1 min 40 s left\n")


def test_the_rate_is_that_of_the_last_half_minute(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    tally = Tally()
    plain = PlainProgress()
    plain.show(snapshot(worker("one"), tally=tally))
    for _ in range(3000):
        tally.add(success())
    clock.now_s += 10.0
    plain.show(snapshot(worker("one"), tally=tally))
    clock.now_s += 31.0
    plain.show(snapshot(worker("one"), tally=tally))
    assert " 0.0 requests/s" in capsys.readouterr().err


def test_no_time_left_is_told_before_anything_is_known(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    plain = PlainProgress()
    clock.now_s += 20.0
    plain.show(snapshot(worker("one"), total=100))
    assert "left" not in capsys.readouterr().err


def test_what_newly_keeps_a_job_from_going_on_is_told_soon_and_once(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = PlainProgress()

    def lines(notes: tuple[str, ...] = (), blocked: tuple[str, ...] = ()) -> int:
        clock.now_s += 0.1
        plain.show(snapshot(worker("one"), notes=notes, blocked=blocked))
        return len(capsys.readouterr().err.splitlines())

    assert lines() == 0
    assert lines(notes=("the broker's memory is full",)) == 1
    assert [lines(notes=("the broker's memory is full",)) for _ in range(50)].count(1) == 0
    assert lines(notes=("the broker's memory is full",), blocked=("no key can serve m now",)) == 1
    assert lines() == 0


def test_what_comes_and_goes_is_not_told_each_time(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    plain = PlainProgress()
    for number in range(100):
        clock.now_s += 0.1
        plain.show(snapshot(worker("one"), notes=("the broker doesn't answer",) if number % 2 else ()))
    assert 2 <= len(capsys.readouterr().err.splitlines()) <= 5


def test_what_is_told_of_a_key_that_can_not_serve_is_not_told_twice() -> None:
    said = "no key can serve m now: one is refused by its provider (invalid_api_key: no; probed now and then)"
    waits = {"revoked: invalid_api_key: no": 1, "60 requests per 60 s": 1}
    text = waiting_text(snapshot(worker("one"), waits=waits, blocked=(said,)))
    assert text == f"60 requests per 60 s (1 key); {said}"


def test_reasons_of_waiting_are_told_with_the_number_of_keys() -> None:
    text = waiting_text(snapshot(worker("one"), waits={"60 requests per 60 s": 2, "rate limited: slow_down": 1}))
    assert text == "60 requests per 60 s (2 keys); rate limited: slow_down (1 key)"


def test_concurrency_that_holds_a_key_back_is_told_with_the_option() -> None:
    assert waiting_text(snapshot(worker("one", short=True))) == "concurrency (one; --concurrency raises it)"


def test_a_broker_that_is_away_or_full_is_told() -> None:
    assert "the broker doesn't answer" in waiting_text(snapshot(notes=("the broker doesn't answer",)))


def test_a_fleet_without_workers_is_told() -> None:
    assert waiting_text(snapshot()) == "no worker is running yet"


def test_requests_that_nobody_holds_for_no_other_reason_are_in_backoff() -> None:
    assert waiting_text(snapshot(worker("one", in_flight=0, retried=1))) == "backoff after errors"
    assert waiting_text(snapshot(worker("one", in_flight=1, retried=1))) == ""


def test_answers_on_their_way_are_no_backoff() -> None:
    assert waiting_text(snapshot(worker("one", in_flight=0))) == ""


def test_the_share_of_a_key_is_that_of_its_tightest_limit() -> None:
    limits = (LimitStatus("q", "requests", 100, 60, 20), LimitStatus("q", "tokens", 1000, 60, 900))
    one = WorkerStatus("one", "host", 3, 32, False, {}, limits, {})
    assert key_shares(FleetStatus((one, one))) == {"one": (6, 0.9, "1,000 tokens / 60 s")}


def test_the_mean_share_takes_each_status_once() -> None:
    shares = QuotaShares()
    first, second = FleetStatus((worker("one", used=20),)), FleetStatus((worker("one", used=60, rate_limited=3),))
    for fleet in (first, first, first, second):
        shares.note(fleet)
    assert shares.share("one") == pytest.approx(0.4)
    assert shares.refused("one") == 3
    assert shares.share("other") is None
    assert shares.key_names() == ["one"]


def test_the_picture_on_a_terminal_names_keys_counts_and_reasons(clock: Clock) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=140, color_system=None)
    with TerminalProgress(console) as picture:
        picture.show(
            snapshot(
                worker("one", used=50),
                *(worker(f"k{number}", used=1) for number in range(20)),
                finished=50,
                failed=2,
                total=40,
                waits={"too large for this key": 1},
                interrupted=True,
            )
        )
    shown = text.getvalue()
    for part in ("48 succeeded", "2 failed", "100%", "one", "50% of 100 requests / 60 s", "and 9 more keys"):
        assert part in shown
    assert "waiting for: too large for this key (1 key)" in shown
    assert "Ctrl-C again stops at once" in shown


def test_the_summary_tells_requests_tokens_keys_reasons_and_where_the_results_are() -> None:
    tally = Tally()
    for _ in range(3):
        tally.add(success())
    for number in range(12):
        error = AttemptError(400, f"code{number}", "no [bold] markup")
        tally.add(Outcome(id="1", ok=False, status=400, body=None, attempts=1, errors=(error,)))
    shares = QuotaShares()
    shares.note(FleetStatus((worker("one", used=50), worker("idle"))))
    text = io.StringIO()
    print_summary(Console(file=text, width=120), tally, shares, elapsed_s=2.0, output=Path("out.jsonl"))
    summary = text.getvalue()
    assert "3 succeeded, 12 failed, 30 tokens in 2 s (7.5 requests/s)" in summary
    assert "idle" in summary
    assert "50%" in summary
    assert "no [bold] markup" in summary
    assert "and 2 other reasons" in summary
    assert "Results: out.jsonl" in summary


def test_a_limit_of_images_is_told_like_the_others() -> None:
    limits = (LimitStatus("q", "requests", 100, 60, 20), LimitStatus("q", "images", 50, 60, 45))
    one = WorkerStatus("one", "host", 3, 32, False, {}, limits, {})
    assert key_shares(FleetStatus((one,))) == {"one": (3, 0.9, "50 images / 60 s")}
