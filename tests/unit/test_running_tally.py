"""The tally: counts by outcome, reason and key, and the rule of stopping early."""

from __future__ import annotations

from keyfleet.contract import AttemptError, Outcome
from keyfleet.running.tally import EARLY_STOP_OUTCOMES, MOST_REASONS, Tally


def success(key_name: str | None = "one", tokens: int = 7) -> Outcome:
    return Outcome(id="1", ok=True, status=200, body=b"{}", attempts=1, key_name=key_name, tokens=tokens)


def failure(code: str = "bad", message: str = "it is", status: int | None = 400, attempts: int = 1) -> Outcome:
    error = AttemptError(status, code, message)
    return Outcome(id="1", ok=False, status=status, body=None, attempts=attempts, errors=(error,))


def never_sent() -> Outcome:
    return failure("invalid_json", "line 1 is no JSON", status=None, attempts=0)


def tally_of(*outcomes: Outcome) -> Tally:
    tally = Tally()
    for outcome in outcomes:
        tally.add(outcome)
    return tally


def test_outcomes_tokens_and_keys_are_counted() -> None:
    tally = tally_of(success("one", 5), success("one", 6), success("two", 1), failure(attempts=3))
    assert (tally.succeeded, tally.failed, tally.finished, tally.tokens, tally.attempts) == (3, 1, 4, 12, 6)
    assert (tally.by_key["one"].requests, tally.by_key["one"].tokens) == (2, 11)
    assert tally.by_key["two"].requests == 1


def test_failures_are_grouped_by_status_code_and_message() -> None:
    tally = tally_of(failure(message="a"), failure(message="a"), failure(message="b"), never_sent(), never_sent())
    assert tally.reasons == {"400 bad: a": 2, "400 bad: b": 1, "invalid_json": 2}


def test_messages_that_differ_in_each_request_fill_no_memory() -> None:
    tally = tally_of(*(failure(message=f"you asked for {number} tokens") for number in range(3 * MOST_REASONS)))
    assert len(tally.reasons) <= MOST_REASONS + 1
    assert tally.reasons["400 bad"] == 2 * MOST_REASONS
    assert sum(tally.reasons.values()) == tally.failed


def test_codes_that_differ_in_each_request_fill_no_memory_either() -> None:
    tally = tally_of(*(failure(code=f"e{number}") for number in range(4 * MOST_REASONS)))
    assert len(tally.reasons) <= 2 * MOST_REASONS + 1
    assert sum(tally.reasons.values()) == tally.failed


def test_a_long_reason_is_cut() -> None:
    (reason,) = tally_of(failure(message="x" * 10_000)).reasons
    assert len(reason) == 160


def test_the_first_hundred_equal_errors_stop_a_run() -> None:
    tally = tally_of(*(failure(message=f"number {n}") for n in range(EARLY_STOP_OUTCOMES - 1)))
    assert tally.early_stop_reason() is None
    tally.add(failure())
    assert tally.early_stop_reason() == "400 bad: number 0"


def test_one_success_before_them_keeps_a_run_going() -> None:
    tally = tally_of(success(), *(failure() for _ in range(3 * EARLY_STOP_OUTCOMES)))
    assert tally.early_stop_reason() is None


def test_one_success_among_them_keeps_a_run_going() -> None:
    tally = tally_of(failure(), success(), *(failure() for _ in range(3 * EARLY_STOP_OUTCOMES)))
    assert tally.early_stop_reason() is None


def test_another_error_among_them_keeps_a_run_going() -> None:
    tally = tally_of(failure(), failure("worse"), *(failure() for _ in range(3 * EARLY_STOP_OUTCOMES)))
    assert tally.early_stop_reason() is None


def test_what_was_never_sent_neither_stops_a_run_nor_keeps_it_going() -> None:
    tally = tally_of(*(never_sent() for _ in range(2 * EARLY_STOP_OUTCOMES)))
    assert tally.early_stop_reason() is None
    for _ in range(EARLY_STOP_OUTCOMES):
        tally.add(failure())
        tally.add(never_sent())
    assert tally.early_stop_reason() == "400 bad: it is"


def test_calls_that_all_timed_out_stop_a_run_too() -> None:
    tally = tally_of(*(failure("timeout", "silence", status=None, attempts=2) for _ in range(EARLY_STOP_OUTCOMES)))
    assert tally.early_stop_reason() == "timeout"


def test_a_success_after_the_hundred_does_not_take_the_reason_back() -> None:
    tally = tally_of(*(failure() for _ in range(EARLY_STOP_OUTCOMES)), success())
    assert tally.early_stop_reason() == "400 bad: it is"
