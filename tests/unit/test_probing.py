"""Probes: what a provider is asked, and which answers give a key back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from keyfleet.config import Environment, KeyConfig, ModelLimits, ModelSettings, ProxyUrl, SecretReference, parse_limits
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.holds import Hold, KeyState
from keyfleet_workers.limiter import ExactRedisStorage
from keyfleet_workers.probing import KeyProbe, PaidProbe, ask_freely, lifts
from keyfleet_workers.provider import Answer, CallFailed, ProviderClient, Verdict, VerdictKind
from keyfleet_workers.provider.verdict import CallFailure
from keyfleet_workers.smallest_call import SMALLEST_CALL_TOKENS

if TYPE_CHECKING:
    from support.stand_in import StandIn

SECRET = "sk-very-secret-0123456789"
REVOKED, OUT_OF_CREDIT = KeyState.REVOKED, KeyState.OUT_OF_CREDIT

# https://github.com/teilomillet/gollm/issues/33
UNSUPPORTED = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
)
# https://github.com/openai/openai-python/issues/1724, of Azure
UNKNOWN = "Unrecognized request argument supplied: max_completion_tokens"
# https://github.com/Chanzhaoyu/chatgpt-web/issues/1428
NO_CHAT = (
    "This is not a chat model and thus not supported in the v1/chat/completions endpoint. Did you mean to use "
    "v1/completions?"
)
# Of o1-pro and others: https://github.com/sigoden/aichat/pull/1318
RESPONSES = "This model is only supported in v1/responses and not in v1/chat/completions."
# https://github.com/spiceai/spiceai/issues/7126
CUT_OFF = "Could not finish the message because max_tokens or model output limit was reached. Please try again."


class Provider:
    """Notes what it is asked and answers as it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any] | None]] = []
        self.status = 200
        self.document: Any = {"object": "list", "data": []}
        self.page: bytes | None = None
        """In place of the document."""
        self.error: Exception | None = None
        self.refuses: dict[str, tuple[str, str]] = {}
        """Code and message with which it refuses what has a field, or is sent to an endpoint, of this name."""

    def get(self, path: str, *, read_timeout_s: float) -> Answer:
        return self._answer(path, None)

    def post(self, endpoint: str, body: bytes, *, read_timeout_s: float) -> Answer:
        return self._answer(endpoint, json.loads(body))

    def _answer(self, path: str, body: dict[str, Any] | None) -> Answer:
        self.asked.append((path, body))
        if self.error is not None:
            raise self.error
        refusal = next((self.refuses[name] for name in (path, *(body or ())) if name in self.refuses), None)
        if refusal is not None:
            document = {"error": {"code": refusal[0], "message": refusal[1], "type": "invalid_request_error"}}
            return Answer(400, {}, json.dumps(document).encode(), 0.0, 0.0)
        return Answer(self.status, {}, self.page or json.dumps(self.document).encode(), 0.0, 0.0)


class Case:
    """A key whose limit of tokens lets two probes through."""

    def __init__(self, stand_in: StandIn, **settings: Any) -> None:
        """`settings` are of the key's models."""
        limits = ModelLimits((), parse_limits([f"{2 * SMALLEST_CALL_TOKENS}/minute"]))
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

        self.paid = PaidProbe(self.client, self.binding, self.storage)
        self.models = ["m", "n"]
        self.probe = KeyProbe(self.client, self.binding, self.storage, lambda: self.models)

    def ask(self, model: str) -> Verdict:
        verdict = self.paid.ask(model)
        assert verdict is not None
        return verdict

    def bodies(self) -> list[dict[str, Any]]:
        """What was sent, without what keeps probes apart."""
        return [{name: value for name, value in (body or {}).items() if name != "user"} for _, body in self.asked()]

    def asked(self) -> list[tuple[str, dict[str, Any] | None]]:
        return self.provider.asked

    def fails_with(self, status: int, code: str, message: str = "no") -> None:
        self.provider.status, self.provider.document = status, {"error": {"code": code, "message": message}}


@pytest.fixture
def case(stand_in: StandIn) -> Case:
    return Case(stand_in)


def test_the_free_probe_is_the_list_of_models(case: Case) -> None:
    verdict = ask_freely(case.client, case.binding)
    assert lifts(REVOKED, verdict)
    assert case.asked() == [("/v1/models", None)]


def test_credit_is_probed_with_the_smallest_call_and_each_is_another(case: Case) -> None:
    for _ in range(2):
        case.ask("gpt-4o-mini")
    (path, first), (_, second) = case.asked()
    assert path == "/v1/chat/completions"
    assert first is not None
    assert (first["model"], first["max_tokens"]) == ("gpt-4o-mini", 1)
    assert first != second


def test_a_model_of_embeddings_is_asked_for_one(case: Case) -> None:
    case.ask("text-embedding-3-small")
    ((path, body),) = case.asked()
    assert path == "/v1/embeddings"
    assert body is not None
    assert body["input"] == "Hi"


def test_a_model_is_asked_for_by_its_name_at_the_provider(stand_in: StandIn) -> None:
    case = Case(stand_in, alias="their-model")
    case.ask("m")
    assert case.bodies()[0]["model"] == "their-model"


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        *((model, True) for model in ("o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5.1", "ft:o4-mini:org::1")),
        *((model, False) for model in ("gpt-4o", "gpt-4.1", "gpt-3.5-turbo", "chatgpt-4o-latest", "omni", "my-o3")),
    ],
)
def test_models_that_think_are_asked_as_they_want_it(case: Case, model: str, thinks: bool) -> None:
    case.ask(model)
    body = case.bodies()[0]
    assert body.get("max_completion_tokens", 0) == (16 if thinks else 0)
    assert ("max_tokens" in body) is not thinks


@pytest.mark.parametrize(
    ("model", "refuses", "endpoint", "maximum"),
    [
        ("my-deployment", {"max_tokens": UNSUPPORTED}, "/v1/chat/completions", "max_completion_tokens"),
        ("gpt-5", {"max_completion_tokens": UNKNOWN}, "/v1/chat/completions", "max_tokens"),
        ("o1-pro", {"/v1/chat/completions": RESPONSES}, "/v1/responses", "max_output_tokens"),
        ("davinci-002", {"/v1/chat/completions": NO_CHAT}, "/v1/completions", "max_tokens"),
    ],
)
def test_a_call_that_is_refused_for_its_form_is_made_in_the_other_one_and_then_at_once(
    case: Case, model: str, refuses: dict[str, str], endpoint: str, maximum: str
) -> None:
    case.provider.refuses = {name: ("unsupported_parameter", message) for name, message in refuses.items()}
    assert case.ask(model).kind is VerdictKind.SUCCESS
    assert [path for path, _ in case.asked()] == ["/v1/chat/completions", endpoint]
    assert maximum in case.bodies()[1]
    case.asked().clear()
    assert case.paid.ask(model) is None, "both calls drew on the limits"
    assert case.asked() == []


def test_the_form_that_a_model_takes_is_remembered(stand_in: StandIn) -> None:
    case = Case(stand_in)
    case.provider.refuses = {"max_tokens": ("unsupported_parameter", UNSUPPORTED)}
    case.ask("m")
    stand_in.clock.advance_ms(61_000)
    case.ask("m")
    assert [("max_tokens" in body) for body in case.bodies()] == [True, False, False]


def test_a_form_that_is_no_better_is_not_remembered(stand_in: StandIn) -> None:
    case = Case(stand_in)
    case.provider.refuses = {
        "/v1/chat/completions": ("unsupported", RESPONSES),
        "/v1/responses": ("unknown_url", "Invalid URL"),
    }
    assert case.ask("m").kind is VerdictKind.FINAL
    stand_in.clock.advance_ms(61_000)
    case.provider.refuses = {}
    assert case.ask("m").kind is VerdictKind.SUCCESS
    assert case.asked()[-1][0] == "/v1/chat/completions"


def test_a_refusal_of_another_kind_is_not_tried_in_another_form(case: Case) -> None:
    case.provider.refuses = {"model": ("bad_request", "'messages' is wrong")}
    assert case.ask("m").kind is VerdictKind.FINAL
    assert len(case.asked()) == 1


def test_a_model_that_was_cut_off_while_it_thought_has_been_paid_for(case: Case) -> None:
    case.provider.refuses = {"max_completion_tokens": ("invalid_request_error", CUT_OFF)}
    verdict = case.ask("gpt-5")
    assert lifts(OUT_OF_CREDIT, verdict)
    assert len(case.asked()) == 1


def test_a_probe_that_costs_draws_on_the_limits_and_waits_where_they_are_used_up(case: Case) -> None:
    assert case.paid.ask("m") is not None
    assert case.paid.ask("m") is not None
    assert case.paid.ask("m") is None
    assert len(case.asked()) == 2


@pytest.mark.parametrize(
    ("status", "code", "ends_revoked", "ends_empty"),
    [
        (200, "", True, True),
        (401, "invalid_api_key", False, False),
        (429, "insufficient_quota", False, False),
        (500, "server_error", False, False),
        (429, "rate_limit_exceeded", True, True),
        # A model that the key lacks, or a call that lacks something, tells that the key is taken. Whether it could be
        # paid for was perhaps not looked at
        (400, "bad_request", True, False),
        (404, "model_not_found", True, False),
    ],
)
def test_a_call_that_came_through_tells_of_credit_and_any_answer_to_it_of_the_key(
    case: Case, status: int, code: str, ends_revoked: bool, ends_empty: bool
) -> None:
    if status != 200:
        case.fails_with(status, code)
    verdict = case.ask("m")
    assert (lifts(REVOKED, verdict), lifts(OUT_OF_CREDIT, verdict)) == (ends_revoked, ends_empty)


def held(state: KeyState) -> Hold:
    return Hold("key:abc:x", state, "no", 1, None)


def test_a_refused_key_is_asked_freely_until_that_was_wrong(case: Case) -> None:
    assert case.probe.ask(held(REVOKED), False) is not None
    assert case.probe.ask(held(REVOKED), True) is not None
    assert case.probe.ask(held(OUT_OF_CREDIT), False) is not None
    assert [path for path, _ in case.asked()] == ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]


def test_where_one_model_tells_nothing_the_next_is_asked(case: Case) -> None:
    case.provider.refuses = {"/v1/chat/completions": ("bad_request", "no")}
    case.probe.ask(held(OUT_OF_CREDIT), False)
    case.provider.refuses = {}
    case.probe.ask(held(OUT_OF_CREDIT), False)
    case.probe.ask(held(OUT_OF_CREDIT), False)
    assert [body["model"] for body in case.bodies()] == ["m", "n"]


def test_without_a_model_nothing_is_asked_that_has_to_be_paid(case: Case) -> None:
    case.models = []
    assert case.probe.ask(held(OUT_OF_CREDIT), False) is None
    assert case.probe.ask(held(REVOKED), True) is None
    assert case.asked() == []


@pytest.mark.parametrize("failure", [CallFailure.UNREACHABLE, CallFailure.TIMED_OUT, CallFailure.CUT_OFF])
def test_no_answer_is_no_reason_to_use_the_key_again(case: Case, failure: CallFailure) -> None:
    case.provider.error = CallFailed(failure, "no way", None)
    verdict = ask_freely(case.client, case.binding)
    assert not lifts(REVOKED, verdict)
    assert not lifts(OUT_OF_CREDIT, verdict)


@pytest.mark.parametrize(
    ("base_url", "kind"),
    [("http://models.example/v1", VerdictKind.UNREACHABLE), ("https://models.example/v1", VerdictKind.RETRYABLE)],
)
def test_a_page_that_the_proxy_may_have_sent_itself_is_told_from_the_providers(
    base_url: str, kind: VerdictKind
) -> None:
    config = KeyConfig("one", SecretReference("${KEY}"), proxy=ProxyUrl("http://proxy:8080"), base_url=base_url)
    provider = Provider()
    provider.status, provider.page = 503, b"<html>no way</html>"
    binding = KeyBinding(config, Environment({"KEY": SECRET}))
    assert ask_freely(cast(ProviderClient, provider), binding).kind is kind


def test_a_secret_that_the_provider_repeats_is_in_no_verdict(case: Case) -> None:
    case.fails_with(401, "invalid_api_key", f"Incorrect API key provided: {SECRET}")
    verdict = ask_freely(case.client, case.binding)
    assert verdict.kind is VerdictKind.REVOKED
    assert SECRET not in repr(verdict)
