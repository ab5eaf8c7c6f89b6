"""A worker's key: the quota it draws on, what its limits are, and that nothing shows its secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keyfleet.config import (
    Environment,
    KeyConfig,
    ModelLimits,
    ModelSettings,
    ProxyUrl,
    SecretReference,
    Settings,
    parse_limits,
)
from keyfleet.contract import Cost
from keyfleet.errors import ConfigurationError
from keyfleet_workers.binding import UNBOUNDED, KeyBinding

SECRET = "sk-very-secret-0123456789"
OTHER = "sk-another-one-9876543210"
ENV = Environment({"KEY": SECRET, "SAME": SECRET, "OTHER": OTHER, "PROXY_PASSWORD": "hunter2"})


def limits(requests: tuple[str, ...] = (), tokens: tuple[str, ...] = ()) -> ModelLimits:
    return ModelLimits(parse_limits(requests), parse_limits(tokens))


def bind(name: str = "one", variable: str = "KEY", *, use: float = 1.0, **fields: Any) -> KeyBinding:
    config = KeyConfig(name, SecretReference(f"${{{variable}}}"), **{"limits": limits(("60/minute",)), **fields})
    return KeyBinding(config, ENV, use=use)


def test_one_secret_under_two_names_is_one_quota() -> None:
    assert bind("one", "KEY").quota("m").name == bind("two", "SAME").quota("m").name
    assert bind("one", "KEY").fingerprint == bind("two", "SAME").fingerprint


def test_two_secrets_are_two_quotas() -> None:
    assert bind("one", "KEY").quota("m").name != bind("one", "OTHER").quota("m").name


def test_keys_of_a_group_share_their_quota_whatever_their_secrets() -> None:
    one, two = bind("one", "KEY", group="org a"), bind("two", "OTHER", group="org a")
    assert one.quota("m").name == two.quota("m").name == "group:org%20a:*"
    assert [limit.key for limit in one.quota("m").limits] == [limit.key for limit in two.quota("m").limits]


def test_a_quota_is_that_of_the_pattern_which_the_model_matches() -> None:
    key = bind(
        limits=None,
        models={"gpt-4o*": ModelSettings(limits(("5/minute",))), "o3": ModelSettings(limits(("7/minute",)))},
    )
    assert key.quota("gpt-4o").name == key.quota("gpt-4o-mini").name
    assert key.quota("gpt-4o") is key.quota("gpt-4o-mini")
    assert key.quota("o3").name != key.quota("gpt-4o").name
    assert [limit.amount for limit in key.quota("o3").limits] == [7]
    assert len(key.quotas()) == 2


def test_limits_of_the_key_cover_all_its_models_together() -> None:
    key = bind()
    assert key.quota("a") is key.quota("b")


def test_where_nobody_configured_limits_each_model_is_for_itself() -> None:
    key = bind(limits=None)
    assert key.quota("a").name != key.quota("b").name
    assert key.quota("a").limits == ()


def test_amounts_are_the_share_in_use_of_what_the_headroom_leaves() -> None:
    key = bind(use=0.5, headroom=0.2, limits=limits(("100/minute", "1000/day"), ("3000/minute",)))
    found = {(limit.unit, limit.window_ms): limit.amount for limit in key.quota("m").limits}
    assert found == {("requests", 60_000): 40, ("requests", 86_400_000): 400, ("tokens", 60_000): 1200}


def test_windows_are_widened_by_the_guard_that_is_set() -> None:
    config = KeyConfig("one", SecretReference("${KEY}"), limits=limits(("60/minute",)))
    key = KeyBinding(config, ENV, guard=lambda window_ms: window_ms // 100)
    assert [limit.guard_ms for limit in key.quota("m").limits] == [600]
    assert key.quota("m").guard_s() == 0.6


def test_settings_say_what_share_may_be_used_and_how_much_windows_are_widened(tmp_path: Path) -> None:
    config = KeyConfig("one", SecretReference("${KEY}"), limits=limits(("60/minute",)))
    (limit,) = (
        KeyBinding.of(config, ENV, Settings(state_dir=tmp_path, use=0.5, guard_ms=300, guard_share=0.0))
        .quota("m")
        .limits
    )
    assert (limit.amount, limit.guard_ms) == (30, 300)
    (limit,) = (
        KeyBinding.of(config, ENV, Settings(state_dir=tmp_path, guard_ms=300, guard_share=0.01)).quota("m").limits
    )
    assert (limit.amount, limit.guard_ms) == (60, 600)


def test_a_quota_tells_what_a_request_costs_and_what_can_ever_start() -> None:
    quota = bind(limits=limits(("60/minute",), ("1000/minute", "5000/day"))).quota("m")
    assert quota.costs(Cost(70)) == (1, 70, 70)
    assert quota.costs(Cost(70, 3)) == (1, 70, 70)
    assert quota.largest_cost() == Cost(1000, UNBOUNDED)
    assert quota.shortest_window_s() == 60.0
    open_quota = bind(limits=None).quota("m")
    assert open_quota.costs(Cost(70)) == ()
    assert open_quota.largest_cost() == Cost(UNBOUNDED, UNBOUNDED)
    assert open_quota.guard_s() == open_quota.shortest_window_s() == float("inf")


def test_a_window_is_known_for_as_long_as_it_lasts() -> None:
    quota = bind(limits=limits(("60/minute", "100/hour"))).quota("m")
    assert quota.known(0.0) == [False, False]
    quota.note_grant(1000.0)
    assert quota.known(1059.9) == [True, True]
    assert quota.known(1060.1) == [False, True]


def test_nothing_that_is_shown_of_a_key_holds_a_secret() -> None:
    proxy = ProxyUrl("http://me:${PROXY_PASSWORD}@proxy.example:8080")
    key = bind(proxy=proxy, headers={"X-Token": SecretReference("${OTHER}")})
    shown = " ".join([repr(key), str(key), f"{key}", str(vars(key)), key.fingerprint, key.quota("m").name])
    for secret in (SECRET, OTHER, "hunter2"):
        assert secret not in shown
    assert repr(key) == "KeyBinding(one)"


def test_secrets_that_an_answer_repeats_are_hidden_and_short_values_are_not() -> None:
    key = bind(headers={"X-Token": SecretReference("${OTHER}"), "X-Flag": SecretReference("1")})
    answer = f"1. {SECRET} and {OTHER}".encode()
    assert key.without_secrets(answer) == b"1. *** and ***"


def test_the_credentials_of_a_proxy_are_hidden_in_answers_in_all_their_forms() -> None:
    env = Environment({"KEY": SECRET, "PROXY": "http://me:hun%24ter2@proxy.example:8080", "TOKEN": "socks5h://t0ken@h"})
    key = KeyBinding(KeyConfig("one", SecretReference("${KEY}"), proxy=ProxyUrl("${PROXY}")), env)
    answer = b"me:hun%24ter2 hun%24ter2 hun$ter2 Basic bWU6aHVuJHRlcjI= at proxy.example, for me"
    assert key.without_secrets(answer) == b"*** *** *** Basic *** at proxy.example, for me"
    token = KeyBinding(KeyConfig("two", SecretReference("${KEY}"), proxy=ProxyUrl("${TOKEN}")), env)
    assert token.without_secrets(b"dDBrZW4= and 5 letters: t0ken") == b"*** and 5 letters: t0ken"
    assert "hun" not in str(vars(key))


def test_the_headers_present_the_key_as_the_provider_wants_it() -> None:
    more: dict[str, Any] = {
        "organization": "org-1",
        "project": "p-1",
        "headers": {"X-Token": SecretReference("${OTHER}")},
    }
    assert bind(**more).headers() == {
        "Authorization": f"Bearer {SECRET}",
        "OpenAI-Organization": "org-1",
        "OpenAI-Project": "p-1",
        "X-Token": OTHER,
    }
    azure = bind(provider="azure", base_url="https://mine.openai.azure.com")
    assert azure.headers() == {"api-key": SECRET}


def test_the_proxys_address_comes_with_its_password_only_for_who_calls() -> None:
    assert bind().proxy_url is None
    key = bind(proxy=ProxyUrl("http://me:${PROXY_PASSWORD}@proxy.example:8080"))
    assert key.proxy_url == "http://me:hunter2@proxy.example:8080"


def test_a_missing_secret_is_named_by_its_variable() -> None:
    with pytest.raises(ConfigurationError, match="MISSING"):
        bind(variable="MISSING")
