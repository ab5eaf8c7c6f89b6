"""One call for several requests: each gets what it would have got alone, and no error of one is another's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyfleet.contract import AttemptError
from keyfleet.ledger import Finish, JobOptions, Retry, Taken
from keyfleet_workers.dispatch.delivery import HandBack
from keyfleet_workers.dispatch.packs import Pack
from keyfleet_workers.limiter import Settlement
from keyfleet_workers.provider import CallFailed
from keyfleet_workers.provider.verdict import CallFailure
from support.call_case import CallCase, CallClock

BUSY = AttemptError(503, "http_503", "busy")


class SharedCase(CallCase):
    """A runner with a call that embeddings of several texts share, each with a cost of its length."""

    def __init__(self, clock: CallClock) -> None:
        super().__init__(clock)
        self.texts = ["first", "second one", "third"]
        self.endpoint = "/v1/embeddings"
        self.attempts_of: dict[int, tuple[AttemptError, ...]] = {}
        self.bodies: list[str] | None = None

    def member(self, number: int, text: str) -> Taken:
        body = json.dumps({"model": "m", "input": text}) if self.bodies is None else self.bodies[number]
        return Taken(
            *(f"job:{number}", f"token{number}", len(text), b"header\n" + body.encode(), self.endpoint, "m"),
            *(body.encode(), {}, self.options, self.attempts_of.get(number, ()), "a:99"),
        )

    @property
    def pack(self) -> Pack:
        return Pack(tuple(self.member(number, text) for number, text in enumerate(self.texts)))

    @property
    def cost(self) -> int:
        return self.pack.cost.tokens

    def answers(self, **further: Any) -> None:
        data = [{"object": "embedding", "index": at, "embedding": [len(text)]} for at, text in enumerate(self.texts)]
        usage = {"prompt_tokens": self.cost, "total_tokens": self.cost}
        self.provider.document = {"object": "list", "data": data, "model": "m", "usage": usage, **further}

    def refuses(self, status: int, code: str, message: str = "no") -> None:
        self.provider.status = status
        self.provider.document = {"error": {"code": code, "message": message}}


@pytest.fixture
def case(clock: CallClock) -> SharedCase:
    return SharedCase(clock)


def sent_body(case: SharedCase) -> Any:
    ((_, body, _),) = case.provider.sent
    return json.loads(body)


def went_back(case: SharedCase, pack: str | None) -> bool:
    """Whether all went back at once, with `pack` to share a call with."""
    return case.results() == [HandBack(one.key, one.token, pack=pack) for one in case.pack.members]


def test_one_call_carries_all_inputs_in_their_order(case: SharedCase) -> None:
    case.answers()
    case.run()
    assert sent_body(case) == {"model": "m", "input": ["first", "second one", "third"]}


def test_what_is_sent_is_cut_from_what_was_given(case: SharedCase) -> None:
    case.bodies = [
        '{"x": 0.10, "input" : "\\u00e4:",  "model":"m"}',
        '{ "model": "m","input": "\\n", "x":0.1}',
        '{"model":"m","input":"c", "x":  1e-1}',
    ]
    case.answers()
    case.run()
    ((_, body, _),) = case.provider.sent
    assert body == b'{"x": 0.10, "input": ["\\u00e4:", "\\n", "c"], "model":"m"}'


def test_each_request_gets_its_own_answer_and_its_share_of_the_usage(case: SharedCase) -> None:
    case.answers()
    case.run()
    finishes = case.results()
    assert [(one.key, one.token, one.outcome.tokens, one.outcome.request_id) for one in finishes] == [
        ("job:0", "", 5, "req-1"),
        ("job:1", "", 10, "req-1"),
        ("job:2", "", 5, "req-1"),
    ]
    bodies = [json.loads(one.outcome.body) for one in finishes]
    assert [body["data"] for body in bodies] == [
        [{"object": "embedding", "index": 0, "embedding": [size]}] for size in (5, 10, 5)
    ]
    assert [record for _, result, record in case.delivered if isinstance(result, Finish)] == [
        one.record for one in case.pack.members
    ]


def test_a_shared_call_counts_as_one_call_and_as_many_requests(case: SharedCase) -> None:
    case.answers()
    case.run()
    assert case.runner.totals == {"succeeded": 3}
    assert case.counts.ends == {"succeeded": 3}
    assert len(case.noted_outputs) == 1


def test_a_shared_call_is_settled_once_with_the_tokens_of_all(case: SharedCase) -> None:
    case.answers(usage={"prompt_tokens": 27, "total_tokens": 27})
    case.run()
    assert case.settlements() == [Settlement(5000, 5000, (1, 20), (0, 7))]


def test_a_shared_call_that_is_not_sent_gives_back_one_request_and_all_tokens(case: SharedCase) -> None:
    case.runner.stopping.set()
    case.run()
    assert went_back(case, None)
    assert case.settlements() == [Settlement(5000, 5000, (1, 20), (-1, -20))]
    assert case.provider.sent == []


def test_a_call_of_which_one_lease_was_lost_is_not_sent(case: SharedCase) -> None:
    case.begin()
    case.held.suspend("q", "job:1", "token1")
    case.runner.run("q", case.pack, case.grant, case.counts)
    case.check_end()
    assert case.provider.sent == []
    assert went_back(case, None)


@pytest.mark.parametrize(
    ("status", "code"), [(429, "rate_limit_exceeded"), (429, "insufficient_quota"), (401, "invalid_api_key")]
)
def test_what_speaks_of_the_key_sends_all_back_as_they_are(case: SharedCase, status: int, code: str) -> None:
    case.refuses(status, code)
    case.run()
    assert went_back(case, None)
    assert len(case.rests) == 1


def test_a_model_that_others_serve_is_left_to_them_by_all(case: SharedCase) -> None:
    case.other_keys_serve = True
    case.refuses(404, "model_not_found")
    case.run()
    assert went_back(case, None)


def test_a_provider_that_can_not_be_reached_sends_all_back_as_they_are(case: SharedCase) -> None:
    case.provider.error = CallFailed(CallFailure.UNREACHABLE, "no way", None)
    case.run()
    assert went_back(case, None)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_error_that_would_end_a_request_ends_none_of_those_that_share_a_call(case: SharedCase, status: int) -> None:
    case.refuses(status, "invalid_value")
    case.run()
    assert went_back(case, "")
    assert case.counts.ends == {"split": 3}


@pytest.mark.parametrize(("number", "pack"), [(16, ""), (17, "a:2"), (200, "a:13"), (2048, "a:128")])
def test_requests_of_a_call_that_failed_are_split_over_smaller_ones(case: SharedCase, number: int, pack: str) -> None:
    case.texts = ["x"] * number
    case.refuses(400, "invalid_value")
    case.run()
    assert went_back(case, pack)


def test_a_call_that_is_larger_than_a_limit_is_split_and_the_limit_is_learned(case: SharedCase) -> None:
    message = "Request too large for m on tokens per min (TPM): Limit 15, Requested 20."
    case.provider.status = 429
    case.provider.document = {"error": {"code": "rate_limit_exceeded", "type": "tokens", "message": message}}
    case.run()
    assert went_back(case, "")
    assert [said.amount for said in case.ceilings] == [15]


def test_a_failure_that_may_pass_spends_an_attempt_of_each_and_splits_them(case: SharedCase) -> None:
    case.texts = ["x"] * 40
    case.attempts_of = {1: (BUSY,)}
    case.refuses(503, "overloaded", "busy")
    case.run()
    results = case.results()
    assert all(isinstance(one, Retry) and one.pack == "a:3" for one in results)
    assert [len(one.attempts) for one in results[:3]] == [1, 2, 1]
    assert {one.delay_ms for one in results if len(one.attempts) == 1} == {results[0].delay_ms}, (
        "they come together again"
    )


def test_in_an_outage_all_of_a_call_wait_so_that_the_next_probe_is_anothers(case: SharedCase) -> None:
    case.refuses(503, "overloaded", "busy")
    for _ in range(5):
        case.delivered.clear()
        case.clock.now_s = case.grant.asked_s
        case.run()
    assert all(one.delay_ms >= 4 * 1000 for one in case.results())


def test_the_last_attempt_is_each_ones_own(case: SharedCase) -> None:
    case.options = JobOptions(max_attempts=2)
    case.attempts_of = {1: (BUSY,)}
    case.refuses(503, "overloaded", "busy")
    case.run()
    first, second, _ = case.results()
    assert (len(first.attempts), first.pack) == (1, "")
    assert (second.attempts, second.pack) == ((BUSY,), "")
    assert second.delay_ms >= 1000


def test_the_last_timeout_is_each_ones_own_too(case: SharedCase) -> None:
    case.attempts_of = {0: (AttemptError(None, "timeout", "silent"),)}
    case.provider.error = CallFailed(CallFailure.TIMED_OUT, "silent", 100.0)
    case.run()
    first, second, _ = case.results()
    assert (len(first.attempts), first.pack) == (1, "")
    assert len(second.attempts) == 1


def test_a_request_alone_meets_its_error_as_ever(case: SharedCase) -> None:
    case.texts = ["alone"]
    case.refuses(400, "invalid_value")
    case.run()
    (finish,) = case.results()
    assert isinstance(finish, Finish)
    assert finish.outcome.errors[-1].code == "invalid_value"
    assert sent_body(case) == {"model": "m", "input": "alone"}


@pytest.mark.parametrize("data", [[], [{"index": 0}], [{"index": 0}, {"index": 1}, {"index": 1}], None])
def test_an_answer_that_can_not_be_told_apart_is_asked_for_alone_and_no_other_is_shared(
    case: SharedCase, data: Any
) -> None:
    assert case.runner.shares("q")
    case.answers(data=data)
    case.run()
    assert went_back(case, "")
    assert case.counts.ends == {"split": 3}
    assert not case.runner.shares("q")


def test_a_shared_call_that_is_rate_limited_time_and_again_is_split(case: SharedCase) -> None:
    for times in (1, 2, 3):
        case.refuses(429, "rate_limit_exceeded", "Slow down please")
        case.delivered.clear()
        case.run()
        assert went_back(case, None if times < 3 else "")


def test_a_success_in_between_says_that_shared_calls_are_not_too_large(case: SharedCase) -> None:
    for _ in range(4):
        case.refuses(429, "rate_limit_exceeded", "Slow down please")
        case.delivered.clear()
        case.run()
        assert went_back(case, None)
        case.provider.status = 200
        case.answers()
        case.delivered.clear()
        case.run()


def test_what_an_error_repeats_of_one_request_is_not_told_of_its_neighbours(case: SharedCase) -> None:
    case.refuses(500, "server_error", "could not embed 'second one', sorry")
    case.run()
    assert all("second one" not in one.attempts[-1].message for one in case.results())
    assert "could not embed" in case.results()[0].attempts[-1].message


@pytest.mark.parametrize(
    "bodies",
    [
        ['{"model":"m","input":"a"}', '{"model":"m","input":"b","dimensions":5}', '{"model":"m","input":"c"}'],
        ['{"model":"m","input":"a"}', '{"model":"m"}', '{"model":"m","input":"c"}'],
        ['{"model":"m","input":"a"}', "[]", '{"model":"m","input":"c"}'],
        ['{"model":"m","input":"a"}', "{", '{"model":"m","input":"c"}'],
    ],
)
def test_requests_that_the_ledger_joins_wrongly_are_sent_alone(case: SharedCase, bodies: list[str]) -> None:
    case.bodies = bodies
    case.run()
    assert went_back(case, "")
    assert case.provider.sent == []
    assert case.settlements() == [Settlement(5000, 5000, (1, 20), (-1, -20))]


def test_what_a_call_of_an_endpoint_without_lists_joins_is_sent_alone(case: SharedCase) -> None:
    case.endpoint = "/v1/chat/completions"
    case.run()
    assert went_back(case, "")


def test_a_limit_that_a_call_alone_meets_again_and_again_splits_it_at_last(case: SharedCase) -> None:
    case.refuses(429, "rate_limit_exceeded", "Slow down please")
    for _ in range(100):
        case.delivered.clear()
        case.clock.now_s = case.grant.asked_s
        case.run()
        if case.results()[0].pack is not None:
            break
        case.health._passed[case.grant.quota.name] += 1  # others pass
    assert went_back(case, "")
