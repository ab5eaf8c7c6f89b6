"""Limits over HTTP: what is refused, and with which headers and bodies."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from keyfleet.sim import SimConfig, SimKey, SimLimit, SimServer, parse_limits
from keyfleet.sim.headers import duration_text

S = 1_000_000_000
LIMITS = parse_limits(requests=["3/minute", "100/day"], tokens=["1000/minute"])


class Clock:
    """A clock in nanoseconds that only a test moves."""

    def __init__(self) -> None:
        self.now_ns = 120 * S

    def __call__(self) -> int:
        return self.now_ns


def config(**settings: Any) -> SimConfig:
    return SimConfig(keys=(SimKey(name="one", api_key="sk-one", limits=LIMITS),), **settings)


def complete(sim: SimServer, *, tokens: int = 16, key: str = "sk-one", model: str = "gpt-4o") -> requests.Response:
    """A request whose charge is 1 token for its prompt and `tokens` less one for its output."""
    body = {"model": model, "prompt": "a", "max_tokens": tokens - 1}
    headers = {"Authorization": f"Bearer {key}"}
    return requests.post(f"{sim.base_url}/v1/completions", json=body, headers=headers, timeout=10)


def test_an_answer_tells_how_the_key_stands() -> None:
    with SimServer(config(), clock_ns=Clock()) as sim:
        headers = complete(sim, tokens=100).headers
    told = {name: value for name, value in headers.items() if name.startswith("x-ratelimit")}
    assert told == {
        "x-ratelimit-limit-requests": "3",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "1m0s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "900",
        "x-ratelimit-reset-tokens": "1m0s",
    }
    assert headers["x-request-id"].startswith("req_")
    assert headers["openai-processing-ms"] == "0"


def test_a_sliding_limit_refuses_until_the_very_moment_it_names() -> None:
    clock = Clock()
    with SimServer(config(), clock_ns=clock) as sim:
        assert complete(sim).status_code == 200
        clock.now_ns += 10 * S
        assert [complete(sim).status_code for _ in range(2)] == [200, 200]
        clock.now_ns += 5 * S + S // 2
        refused = complete(sim)
        clock.now_ns += 44 * S + S // 2 - 1
        assert complete(sim).status_code == 429
        clock.now_ns += 1
        assert complete(sim).status_code == 200
    assert refused.status_code == 429
    assert refused.headers["retry-after-ms"] == "44500"
    assert refused.headers["retry-after"] == "45"
    assert refused.json() == {
        "error": {
            "message": "Rate limit reached for gpt-4o in organization org-one on requests per min (RPM): Limit 3, "
            "Used 3, Requested 1. Please try again in 44.5s. Visit https://platform.openai.com/account/rate-limits to "
            "learn more.",
            "type": "requests",
            "param": None,
            "code": "rate_limit_exceeded",
        }
    }


def test_a_refused_request_is_charged_to_no_limit() -> None:
    with SimServer(config(), clock_ns=Clock()) as sim:
        complete(sim, tokens=900)
        refused = complete(sim, tokens=200)
        assert refused.json()["error"]["type"] == "tokens"
        assert "tokens per min (TPM): Limit 1000, Used 900, Requested 200." in refused.json()["error"]["message"]
        assert complete(sim, tokens=100).headers["x-ratelimit-remaining-requests"] == "1"


def test_a_request_larger_than_a_limit_is_refused_without_a_time_to_wait() -> None:
    with SimServer(config()) as sim:
        refused = complete(sim, tokens=1001)
    assert refused.status_code == 429
    assert "retry-after-ms" not in refused.headers
    assert refused.json()["error"]["message"].startswith(
        "Request too large for gpt-4o in organization org-one on tokens per min (TPM): Limit 1000, Requested 1001. "
    )


def test_a_token_bucket_lets_the_next_one_in_as_soon_as_it_has_flowed_in() -> None:
    clock = Clock()
    with SimServer(config(kind="token_bucket"), clock_ns=clock) as sim:
        assert [complete(sim).status_code for _ in range(4)] == [200, 200, 200, 429]
        clock.now_ns += 20 * S
        assert [complete(sim).status_code for _ in range(2)] == [200, 429]


def test_a_fixed_window_speaks_as_azure_does_and_begins_anew_on_the_clock() -> None:
    clock = Clock()
    clock.now_ns += 50 * S
    with SimServer(config(kind="fixed"), clock_ns=clock) as sim:
        assert [complete(sim).status_code for _ in range(3)] == [200, 200, 200]
        refused = complete(sim)
        clock.now_ns += 10 * S
        assert complete(sim).status_code == 200
    error = refused.json()["error"]
    assert set(error) == {"code", "message"}
    assert error["code"] == "429"
    assert "Completions_Create Operation" in error["message"]
    assert "exceeded call rate limit" in error["message"]
    assert "Please retry after 10 seconds" in error["message"]
    assert refused.headers["retry-after-ms"] == "10000"


def test_keys_of_one_group_use_up_the_same_limits() -> None:
    keys = tuple(SimKey(name=name, api_key=f"sk-{name}", group="org", limits=LIMITS) for name in ("one", "two"))
    with SimServer(SimConfig(keys=keys)) as sim:
        assert [complete(sim, key=key).status_code for key in ("sk-one", "sk-two", "sk-one")] == [200, 200, 200]
        assert complete(sim, key="sk-two").status_code == 429


def test_models_have_limits_of_their_own_and_patterns_share_one() -> None:
    one_each = (SimLimit("requests", 1, 60.0),)
    key = SimKey(name="one", api_key="sk-one", models={"gpt-4o*": one_each, "gpt-4o-mini": one_each})
    with SimServer(SimConfig(keys=(key,))) as sim:
        models = ["gpt-4o-mini", "gpt-4o", "gpt-4o-2024-08-06"]
        assert [complete(sim, model=model).status_code for model in models] == [200, 200, 429]


def test_any_key_is_accepted_on_request_each_with_the_default_limits() -> None:
    with SimServer(SimConfig(accept_any_key=True, default_limits=LIMITS)) as sim:
        assert [complete(sim, key="sk-a").status_code for _ in range(4)] == [200, 200, 200, 429]
        assert complete(sim, key="sk-b").status_code == 200
        assert complete(sim, key="").status_code == 401
        assert not any("sk-a" in name for name in sim.stats()["keys"])


def test_an_unknown_key_is_told_so_with_only_its_ends_shown() -> None:
    with SimServer(config()) as sim:
        answer = complete(sim, key="sk-proj-this-is-nobodys-key-wxyz")
        missing = requests.post(f"{sim.base_url}/v1/completions", json={}, timeout=10)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.json()["error"]["message"].startswith("Incorrect API key provided: sk-proj-********************wxyz.")
    assert missing.status_code == 401
    assert missing.json()["error"]["message"].startswith("You didn't provide an API key.")


def test_a_key_in_azures_header_is_found() -> None:
    with SimServer(config()) as sim:
        body = {"model": "gpt-4o", "prompt": "a"}
        address = f"{sim.base_url}/v1/completions?api-version=2024-10-21"
        assert requests.post(address, json=body, headers={"api-key": "sk-one"}, timeout=10).status_code == 200


@pytest.mark.parametrize(
    ("behaviour", "status", "code"), [("revoked", 401, "invalid_api_key"), ("out_of_credit", 429, "insufficient_quota")]
)
def test_a_key_behaves_as_it_is_told(behaviour: Any, status: int, code: str) -> None:
    key = SimKey(name="one", api_key="sk-one", behaviour=behaviour)
    with SimServer(SimConfig(keys=(key,))) as sim:
        answer = complete(sim)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "retry-after" not in answer.headers


def test_a_new_configuration_keeps_what_was_charged_to_limits_that_stay() -> None:
    other = SimKey(name="two", api_key="sk-two")
    with SimServer(config()) as sim:
        assert [complete(sim).status_code for _ in range(3)] == [200, 200, 200]
        sim.reconfigure(SimConfig(keys=(*config().keys, other)))
        assert [complete(sim).status_code, complete(sim, key="sk-two").status_code] == [429, 200]
        sim.reset()
        assert complete(sim).status_code == 200


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (0, "0s"),
        (120, "120ms"),
        (6200, "6.2s"),
        (20_000, "20s"),
        (360_000, "6m0s"),
        (86_400, "1m26.4s"),
        (3_600_000, "1h0m0s"),
    ],
)
def test_durations_are_written_as_openai_does(duration_ms: int, text: str) -> None:
    assert duration_text(duration_ms * 1_000_000) == text


def test_a_duration_is_rounded_up_to_the_millisecond() -> None:
    assert duration_text(1) == "1ms"
