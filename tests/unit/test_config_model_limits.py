"""Limits, patterns of models, and what a key serves under which quota."""

from __future__ import annotations

import pytest
from limits import parse

from keyfleet.config import KeyConfig, ModelLimits, ModelSettings, Pool, SecretReference, parse_limits, scaled_amount
from keyfleet.config.model_limits import best_pattern, with_minute_limit

LIMITS = ModelLimits(requests=parse_limits(["500/minute"]))


def key(*patterns: str, limits: ModelLimits | None = None) -> KeyConfig:
    models = dict.fromkeys(patterns, ModelSettings(LIMITS))
    return KeyConfig(name="a", api_key=SecretReference("${A}"), models=models, limits=limits)


def test_limits_are_read_in_the_notation_of_the_limits_library() -> None:
    items = parse_limits(["500/minute", "10 per second", "600/10 second; 10000/day"])
    assert [(item.amount, item.get_expiry()) for item in items] == [(500, 60), (10, 1), (600, 10), (10000, 86400)]


@pytest.mark.parametrize("text", ["", "500", "500/min", "abc", "-5/minute", "1.5/minute", "500/minute foo", "0/minute"])
def test_what_limits_cannot_read_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a limit such as 500/minute, 10/second or 10000/day"):
        parse_limits([text])


def test_two_limits_of_one_window_are_refused() -> None:
    with pytest.raises(ValueError, match="two limits for the same window of 60 s"):
        parse_limits(["500/minute", "5/60 second"])


@pytest.mark.parametrize(
    ("limit", "share", "amount"),
    [
        ("500/minute", 1.0, 500),
        ("100/minute", 0.29, 29),
        ("100/minute", 1 - 0.9, 10),
        ("999/day", 0.5, 499),
        ("1/day", 0.01, 1),
    ],
)
def test_a_share_of_a_limit_is_rounded_down_to_at_least_one(limit: str, share: float, amount: int) -> None:
    assert scaled_amount(parse(limit), share) == amount


def test_the_share_left_after_headroom_has_no_crumbs_of_binary_fractions() -> None:
    made = KeyConfig(name="a", api_key=SecretReference("${A}"), headroom=0.9)
    assert made.share == 0.1


@pytest.mark.parametrize(
    ("model", "pattern"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-mini", "gpt-4o-m*"),
        ("gpt-4o-large", "gpt-4o*"),
        ("gpt-3.5", "gpt-?.5"),
        ("o1", "*"),
        ("GPT-4o", "*"),
    ],
)
def test_the_most_specific_pattern_wins_whatever_the_order(model: str, pattern: str) -> None:
    patterns = ["*", "gpt*", "gpt-?.5", "gpt-4o*", "gpt-4o-m*", "gpt-4o"]
    assert best_pattern(patterns, model) == pattern
    assert best_pattern(reversed(patterns), model) == pattern


def test_text_before_the_first_wildcard_counts_for_more_than_length() -> None:
    assert best_pattern(["gpt-*-mini-2024", "gpt-4*"], "gpt-4o-mini-2024") == "gpt-4*"
    assert best_pattern(["gpt-*", "gpt-*-mini"], "gpt-4o-mini") == "gpt-*-mini"


def test_a_key_with_models_serves_those_and_no_others() -> None:
    made = key("gpt-4o*", "o1")
    assert made.serves("gpt-4o-mini")
    assert made.serves("o1")
    assert not made.serves("o1-pro")
    with pytest.raises(LookupError, match="key a doesn't serve the model o1-pro"):
        made.pools_for("o1-pro")
    with pytest.raises(LookupError):
        made.settings_for("o1-pro")


def test_the_models_of_one_pattern_share_one_quota() -> None:
    made = key("gpt-4o*", "gpt-4o-mini")
    assert made.pools_for("gpt-4o") == made.pools_for("gpt-4o-large") == (Pool("own", "gpt-4o*", LIMITS),)
    assert made.pools_for("gpt-4o-mini") == (Pool("own", "gpt-4o-mini", LIMITS),)


def test_limits_at_the_key_are_one_quota_for_every_model() -> None:
    made = key(limits=LIMITS)
    assert made.serves("anything")
    assert made.pools_for("anything") == (Pool("own", "*", LIMITS),)


@pytest.mark.parametrize(
    "made",
    [key(), KeyConfig(name="a", api_key=SecretReference("${A}"), models={"gpt*": ModelSettings()})],
)
def test_where_limits_are_learned_each_model_has_its_own_quota(made: KeyConfig) -> None:
    assert made.pools_for("gpt-4o") == (Pool("own", "gpt-4o", None),)


def test_a_minute_limit_replaces_the_one_of_the_minute_and_keeps_the_others() -> None:
    changed = with_minute_limit(parse_limits(["500/minute", "9/second"]), 20)
    assert changed == parse_limits(["20/minute", "9/second"])
    assert with_minute_limit(parse_limits(["500/minute"]), None) == parse_limits(["500/minute"])


def test_a_key_configuration_can_be_hashed() -> None:
    assert len({key("a"), key("a"), key(limits=LIMITS)}) == 2
