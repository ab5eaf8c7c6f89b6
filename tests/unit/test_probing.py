"""Probes: what a provider is asked, and which answers give a key back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from keyfleet.config import Environment, KeyConfig, ModelLimits, ModelSettings, SecretReference, parse_limits
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.limiter import ExactRedisStorage
from keyfleet_workers.probing import PROBE_TOKENS, ask_for_credit, ask_freely, still_holds
from keyfleet_workers.provider import Answer, CallFailed, ProviderClient, VerdictKind
from keyfleet_workers.provider.verdict import CallFailure

if TYPE_CHECKING:
    from support.stand_in import StandIn

SECRET = "sk-very-secret-0123456789"


class Provider:
    """Notes what it is asked and answers as it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any] | None]] = []
        self.status = 200
        self.document: Any = {"object": "list", "data": []}
        self.error: Exception | None = None

    def get(self, path: str, *, read_timeout_s: float) -> Answer:
        return self._answer(path, None)

    def post(self, endpoint: str, body: bytes, *, read_timeout_s: float) -> Answer:
        return self._answer(endpoint, json.loads(body))

    def _answer(self, path: str, body: dict[str, Any] | None) -> Answer:
        self.asked.append((path, body))
        if self.error is not None:
            raise self.error
        return Answer(self.status, {}, json.dumps(self.document).encode(), 0.0, 0.0)


class Case:
    """A key whose limit of tokens lets two probes through."""

    def __init__(self, stand_in: StandIn, **settings: Any) -> None:
        limits = ModelLimits((), parse_limits([f"{2 * PROBE_TOKENS}/minute"]))
        models = {"*": ModelSettings(limits, **settings)}
        self.binding = KeyBinding(
            KeyConfig("one", SecretReference("${KEY}"), models=models), Environment({"KEY": SECRET})
        )
        self.provider = Provider()
        self.client = cast(ProviderClient, self.provider)
        client = stand_in.client()
        self.storage = ExactRedisStorage(
            "keyfleet+redis://stand-in", connection_pool=client.connection_pool, declare_flags=False
        )

    def fails_with(self, status: int, code: str, message: str = "no") -> None:
        self.provider.status, self.provider.document = status, {"error": {"code": code, "message": message}}


@pytest.fixture
def case(stand_in: StandIn) -> Case:
    return Case(stand_in)


def test_the_free_probe_is_the_list_of_models(case: Case) -> None:
    verdict = ask_freely(case.client, case.binding)
    assert not still_holds(verdict)
    assert case.provider.asked == [("/v1/models", None)]


def test_credit_is_probed_with_the_smallest_call_and_each_is_another(case: Case) -> None:
    for _ in range(2):
        ask_for_credit(case.client, case.binding, "gpt-4o-mini", case.storage)
    (path, first), (_, second) = case.provider.asked
    assert path == "/v1/chat/completions"
    assert first is not None
    assert (first["model"], first["max_tokens"]) == ("gpt-4o-mini", 1)
    assert first != second


def test_a_model_of_embeddings_is_asked_for_one(case: Case) -> None:
    ask_for_credit(case.client, case.binding, "text-embedding-3-small", case.storage)
    ((path, body),) = case.provider.asked
    assert path == "/v1/embeddings"
    assert body is not None
    assert body["input"] == "Hi"


def test_a_model_is_asked_for_by_its_name_at_the_provider(stand_in: StandIn) -> None:
    case = Case(stand_in, alias="their-model")
    ask_for_credit(case.client, case.binding, "m", case.storage)
    ((_, body),) = case.provider.asked
    assert body is not None
    assert body["model"] == "their-model"


def test_a_probe_that_costs_draws_on_the_limits_and_waits_where_they_are_used_up(case: Case) -> None:
    assert ask_for_credit(case.client, case.binding, "m", case.storage) is not None
    assert ask_for_credit(case.client, case.binding, "m", case.storage) is not None
    assert ask_for_credit(case.client, case.binding, "m", case.storage) is None
    assert len(case.provider.asked) == 2


@pytest.mark.parametrize(
    ("status", "code", "holds"),
    [
        (401, "invalid_api_key", True),
        (429, "insufficient_quota", True),
        (500, "server_error", True),
        (400, "bad_request", False),
        (404, "model_not_found", False),
        (429, "rate_limit_exceeded", False),
    ],
)
def test_any_answer_to_the_call_itself_gives_the_key_back(case: Case, status: int, code: str, holds: bool) -> None:
    case.fails_with(status, code)
    verdict = ask_for_credit(case.client, case.binding, "m", case.storage)
    assert verdict is not None
    assert still_holds(verdict) is holds


@pytest.mark.parametrize("failure", [CallFailure.UNREACHABLE, CallFailure.TIMED_OUT, CallFailure.CUT_OFF])
def test_no_answer_is_no_reason_to_use_the_key_again(case: Case, failure: CallFailure) -> None:
    case.provider.error = CallFailed(failure, "no way", None)
    assert still_holds(ask_freely(case.client, case.binding))


def test_a_secret_that_the_provider_repeats_is_in_no_verdict(case: Case) -> None:
    case.fails_with(401, "invalid_api_key", f"Incorrect API key provided: {SECRET}")
    verdict = ask_freely(case.client, case.binding)
    assert verdict.kind is VerdictKind.REVOKED
    assert SECRET not in repr(verdict)
