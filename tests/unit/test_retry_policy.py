"""What becomes of a request after a failed attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet.contract import AttemptError
from keyfleet.ledger import JobOptions
from keyfleet_workers.retry_policy import BASE_DELAY_MS, MAX_DELAY_MS, GiveUp, RetryLater, backoff_ms, decide

SERVER_ERROR = AttemptError(500, "server_error", "made up")
TIMED_OUT = AttemptError(None, "timeout", "made up")
LOST = AttemptError(None, "connection_lost", "made up")


@pytest.mark.parametrize(
    ("failures", "shortest_ms", "longest_ms"),
    [(1, 500, 1000), (2, 1000, 2000), (3, 2000, 4000), (4, 4000, 8000), (7, 30_000, 60_000), (1000, 30_000, 60_000)],
)
def test_backoff_doubles_up_to_a_minute_with_jitter_over_its_upper_half(
    failures: int, shortest_ms: int, longest_ms: int
) -> None:
    assert backoff_ms(failures, 0.0) == shortest_ms
    assert backoff_ms(failures, 0.999999) == pytest.approx(longest_ms, abs=1)


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_backoff_stays_between_half_a_base_and_the_maximum(failures: int, jitter: float) -> None:
    assert BASE_DELAY_MS // 2 <= backoff_ms(failures, jitter) <= MAX_DELAY_MS


@pytest.mark.parametrize(
    ("asked_ms", "delay_ms"), [(None, 500), (0, 500), (400, 500), (7000, 7000), (3_600_000, 60_000)]
)
def test_a_longer_wait_that_the_provider_asks_for_counts(asked_ms: int | None, delay_ms: int) -> None:
    assert backoff_ms(1, 0.0, asked_ms) == delay_ms


@pytest.mark.parametrize(
    ("attempts", "max_attempts", "timeout_attempts", "gives_up"),
    [
        ([SERVER_ERROR], 5, 2, False),
        ([SERVER_ERROR] * 4, 5, 2, False),
        ([SERVER_ERROR] * 5, 5, 2, True),
        ([SERVER_ERROR], 1, 2, True),
        ([TIMED_OUT], 5, 2, False),
        ([TIMED_OUT] * 2, 5, 2, True),
        ([TIMED_OUT], 5, 1, True),
        ([TIMED_OUT, SERVER_ERROR, SERVER_ERROR], 5, 2, False),
        ([TIMED_OUT, SERVER_ERROR, TIMED_OUT], 5, 2, True),
        ([LOST] * 4, 5, 2, False),
        ([LOST, SERVER_ERROR] * 2 + [LOST], 5, 2, True),
        ([TIMED_OUT] * 3, 3, 9, True),
    ],
)
def test_attempts_and_timeouts_have_limits_of_their_own(
    attempts: list[AttemptError], max_attempts: int, timeout_attempts: int, gives_up: bool
) -> None:
    options = JobOptions(max_attempts=max_attempts, timeout_attempts=timeout_attempts)
    assert isinstance(decide(attempts, options, jitter=0.5), GiveUp if gives_up else RetryLater)


def test_a_retry_waits_for_the_backoff_of_its_attempt() -> None:
    assert decide([SERVER_ERROR] * 2, JobOptions(), jitter=0.0) == RetryLater(1000)
    assert decide([SERVER_ERROR] * 2, JobOptions(), jitter=0.0, asked_ms=9000) == RetryLater(9000)
