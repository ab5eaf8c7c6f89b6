"""The watchdog: when a run should end before its end."""

from __future__ import annotations

from keyfleet.contract import AttemptError, Outcome
from keyfleet.running.fleet_status import FleetStatus
from keyfleet.running.snapshot import Snapshot
from keyfleet.running.tally import EARLY_STOP_OUTCOMES, Tally
from keyfleet.running.watchdog import Watchdog


def snapshot_of(tally: Tally, *, is_paused: bool = False) -> Snapshot:
    return Snapshot(0, 0, 1, 0, None, tally, FleetStatus(), {}, (), False, is_paused=is_paused)


def failure() -> Outcome:
    return Outcome(id="1", ok=False, status=400, body=None, attempts=1, errors=(AttemptError(400, "bad", "it is"),))


class Looks:
    """A watchdog that looks at one tally."""

    def __init__(self, give_up_after_s: float | None = None, *, stop_early: bool = True) -> None:
        self.tally = Tally()
        self.is_paused = False
        self._watchdog = Watchdog(give_up_after_s, stop_early=stop_early)

    def look(self, tick_s: float = 1.0, refused: str | None = None) -> str | None:
        return self._watchdog.look(snapshot_of(self.tally, is_paused=self.is_paused), refused, tick_s)


def test_time_without_an_outcome_ends_a_run() -> None:
    looks = Looks(3.0)
    assert [looks.look() for _ in range(4)][:3] == [None, None, None]
    assert looks.look() == "nothing was finished for 3 s (--give-up-after)"


def test_each_outcome_begins_the_time_anew() -> None:
    looks = Looks(3.0)
    for _ in range(10):
        looks.tally.add(failure())
        assert looks.look() is None
        assert looks.look() is None


def test_a_paused_run_is_not_given_up() -> None:
    looks = Looks(3.0)
    looks.is_paused = True
    assert all(looks.look() is None for _ in range(100))
    looks.is_paused = False
    assert [looks.look() is None for _ in range(3)] == [True, True, False]


def test_without_the_option_a_run_waits_for_ever() -> None:
    looks = Looks()
    assert all(looks.look() is None for _ in range(10_000))


def test_time_asleep_between_two_looks_does_not_count() -> None:
    looks = Looks(3.0)
    looks.look()
    assert looks.look(tick_s=8 * 3600.0) is None
    assert looks.look(tick_s=8 * 3600.0) is None
    assert looks.look(tick_s=8 * 3600.0) is not None


def test_keys_that_are_all_refused_for_three_seconds_from_the_start_end_a_run() -> None:
    looks = Looks()
    assert looks.look(1.0, "one: invalid_api_key") is None
    assert looks.look(1.0, "one: invalid_api_key") is None
    assert looks.look(1.0, "one: invalid_api_key") == (
        "every key is refused (one: invalid_api_key); --no-stop-early waits for one that is not"
    )


def test_keys_that_are_all_refused_later_on_are_waited_for() -> None:
    looks = Looks()
    looks.tally.add(failure())
    assert [looks.look(1.0, "one: refused") for _ in range(10)] == [None] * 10
    patient = Looks(stop_early=False)
    assert [patient.look(1.0, "one: refused") for _ in range(10)] == [None] * 10


def test_a_key_that_comes_back_in_between_begins_the_time_anew() -> None:
    looks = Looks()
    for _ in range(5):
        assert looks.look(1.0, "one: refused") is None
        assert looks.look(1.0, "one: refused") is None
        assert looks.look(1.0, None) is None


def test_a_hundred_equal_errors_end_a_run_unless_it_is_told_to_go_on() -> None:
    stops, goes_on = Looks(), Looks(stop_early=False)
    for looks in (stops, goes_on):
        for _ in range(EARLY_STOP_OUTCOMES):
            looks.tally.add(failure())
    reason = stops.look()
    assert reason is not None
    assert "400 bad: it is" in reason
    assert "--no-stop-early" in reason
    assert goes_on.look() is None
