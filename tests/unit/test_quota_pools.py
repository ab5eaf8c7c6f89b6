"""The pools that a key draws on: their names among all hosts, and limits that are learned."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from keyfleet.config import (
    Environment,
    GroupSettings,
    KeyConfig,
    ModelLimits,
    ModelSettings,
    Provider,
    SecretReference,
    Unit,
)
from keyfleet.config import parse_limits as items
from keyfleet.contract import Cost
from keyfleet_workers.binding import UNBOUNDED, KeyBinding, Quota

ENV = Environment({"KEY": "sk-very-secret-0123456789", "OTHER": "sk-another-one-9876543210"})

ORGANISATION = GroupSettings({"m*": ModelSettings(ModelLimits(items(["100/minute"]), items(["9000/minute"])))})
PROJECT = ModelLimits(items(["10/minute", "50/day"]))

Amounts = dict[tuple[Unit, int], int]


def bind(variable: str = "KEY", *, use: float = 1.0, **fields: Any) -> KeyBinding:
    return KeyBinding(KeyConfig("one", SecretReference(f"${{{variable}}}"), **fields), ENV, use=use)


def in_project(project: str | None = "p", variable: str = "KEY", **fields: Any) -> KeyBinding:
    return bind(variable, group="org", group_settings=ORGANISATION, project=project, **{"limits": PROJECT, **fields})


def amounts(quota: Quota) -> Amounts:
    return {(limit.unit, limit.window_ms // 1000): limit.amount for limit in quota.limits}


def test_a_project_draws_on_its_own_pool_within_its_organisations() -> None:
    quota = in_project().quota("m1")
    assert [pool.name for pool in quota.pools] == ["group:org:m*", "project:org:p:*"]
    assert quota.name == "project:org:p:*"
    assert [(limit.unit, limit.amount) for limit in quota.limits] == [
        ("requests", 100),
        ("tokens", 9000),
        ("requests", 10),
        ("requests", 50),
    ]
    assert len({limit.key for limit in quota.limits}) == 4
    assert [pool.is_configured for pool in quota.pools] == [{"requests", "tokens"}, {"requests"}]


def test_the_names_of_windows_are_those_of_a_key_whose_group_is_not_listed() -> None:
    outer, _ = in_project().quota("m1").pools
    alone = bind(group="org", models={"m*": ModelSettings(ModelLimits(items(["5/minute"])))}).quota("m1")
    assert alone.name == alone.pools[0].name == outer.name
    assert alone.limits[0].key == outer.limits[0].key == "{keyfleet}:quota:group:org:m*:requests:60"


def test_keys_of_one_project_share_its_pool_and_others_share_the_organisations_only() -> None:
    names = [
        [pool.name for pool in key.quota("m1").pools]
        for key in (in_project("p"), in_project("p", "OTHER"), in_project("q"), in_project(None))
    ]
    assert names[0] == names[1]
    assert {outer for outer, _ in names} == {"group:org:m*"}
    assert len({own for _, own in names}) == 3


def test_without_a_project_the_own_pool_is_that_of_the_secret() -> None:
    one, same, other = in_project(None), in_project(None), in_project(None, "OTHER")
    assert one.quota("m1").name == same.quota("m1").name == f"{one.fingerprint}:*"
    assert one.quota("m1").name != other.quota("m1").name


def test_a_name_with_odd_characters_cannot_be_taken_for_another() -> None:
    key = in_project("a:b/ü")
    assert key.quota("m1").name == "project:org:a%3Ab%2F%C3%BC:*"


def test_models_of_one_own_pool_may_draw_on_several_of_the_organisation() -> None:
    key = in_project()
    first, second = key.quota("m1"), key.quota("other")
    assert first.name == second.name
    assert first is not second
    assert first is key.quota("m2")
    assert [pool.name for pool in key.pools()] == ["group:org:m*", "project:org:p:*", "group:org:other"]


def test_what_was_granted_in_a_shared_window_is_known_to_all_quotas_that_have_it() -> None:
    key = in_project()
    key.quota("m1").note_grant(1000.0)
    assert key.quota("other").known(1030.0) == [True, True]


def test_a_limit_is_learned_where_none_of_its_unit_is_configured() -> None:
    key = bind(limits=ModelLimits(items(["10/minute"])))
    before = key.quota("m")
    assert key.learn(before.name, "tokens", 60, 500)
    assert key.learn(before.name, "requests", 86_400, 7), "it is kept, though it has no effect"
    assert amounts(key.quota("m")) == {("requests", 60): 10, ("tokens", 60): 500}
    assert amounts(before) == {("requests", 60): 10}, "what runs on the quota goes on with the limits it was granted"
    assert key.quota("m").pools[0].is_configured == {"requests"}


def test_the_same_news_again_changes_nothing() -> None:
    key = bind()
    name = key.quota("m").name
    key.learn(name, "tokens", 60, 500)
    quota = key.quota("m")
    assert not key.learn(name, "tokens", 60, 500)
    assert key.quota("m") is quota


def test_later_news_replaces_what_was_learned() -> None:
    key = bind()
    name = key.quota("m").name
    for amount in (500, 900):
        key.learn(name, "tokens", 60, amount)
    assert amounts(key.quota("m")) == {("tokens", 60): 900}


def test_what_one_model_learned_is_not_anothers() -> None:
    key = bind()
    other = key.quota("n")
    key.learn(key.quota("m").name, "tokens", 60, 500)
    assert key.quota("n") is other


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ("90/minute", {("tokens", 60): 30}),
        ("20/minute", {("tokens", 60): 20}),
        ("900/day", {("tokens", 86_400): 900, ("tokens", 60): 30}),
    ],
)
def test_a_ceiling_holds_beside_configured_limits(configured: str, expected: Amounts) -> None:
    key = bind(limits=ModelLimits((), items([configured])))
    key.learn(key.quota("m").name, "tokens", 60, 30, is_ceiling=True)
    assert amounts(key.quota("m")) == expected


@pytest.mark.parametrize("ceiling_first", [True, False])
def test_of_a_ceiling_and_another_limit_of_one_window_the_smaller_holds_whatever_came_first(
    ceiling_first: bool,
) -> None:
    key = bind()
    name = key.quota("m").name
    news = [(30, True), (80, False)]
    for amount, is_ceiling in news if ceiling_first else reversed(news):
        assert key.learn(name, "tokens", 60, amount, is_ceiling=is_ceiling)
    assert not key.learn(name, "tokens", 60, 30, is_ceiling=True)
    assert amounts(key.quota("m")) == {("tokens", 60): 30}


def test_the_share_that_may_be_used_is_taken_of_learned_limits_too() -> None:
    key = bind(use=0.5, headroom=0.2)
    key.learn(key.quota("m").name, "tokens", 60, 1000)
    assert amounts(key.quota("m")) == {("tokens", 60): 400}


def test_limits_of_images_come_with_the_share_that_may_be_used_and_are_learned_like_others() -> None:
    key = bind(use=0.7, limits=ModelLimits(images=items(["50/minute"])))
    assert amounts(key.quota("m")) == {("images", 60): 35}
    assert key.quota("m").largest_cost() == Cost(UNBOUNDED, 35)
    assert key.quota("m").learner("images") is None
    key = bind(use=0.7)
    key.learn(key.quota("m").name, "images", 60, 100)
    assert amounts(key.quota("m")) == {("images", 60): 70}


def test_the_outermost_pool_learns_what_nobody_configured() -> None:
    key = in_project()
    assert [key.quota("m1").learner(unit) for unit in ("requests", "tokens")] == [None, None]
    assert [key.quota("other").learner(unit) for unit in ("requests", "tokens")] == [None, "group:org:other"]
    assert Quota("none", ()).learner("tokens") is None


def test_a_limit_of_the_organisation_that_is_learned_holds_all_its_models_of_the_pool() -> None:
    key = in_project()
    assert len(key.quota("other").limits) == 2
    key.learn("group:org:other", "tokens", 60, 700)
    assert [pool.name for pool in key.quota("other").pools if pool.limits] == ["group:org:other", "project:org:p:*"]
    assert key.quota("other").largest_cost().tokens == 700


@pytest.fixture
def threads_switch_often() -> Iterator[None]:
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval_s)


@pytest.mark.usefixtures("threads_switch_often")
def test_many_threads_may_learn_and_ask_at_once() -> None:
    key = bind()
    name = key.quota("m").name
    start = threading.Barrier(4)

    def learn(unit: Unit, window_s: int) -> int:
        start.wait(timeout=10)
        for amount in range(1, 200):
            key.learn(name, unit, window_s, amount)
            key.quota(f"{unit}-{window_s}-{amount}")
        return len(key.quotas())

    windows: list[tuple[Unit, int]] = [("requests", 1), ("requests", 60), ("tokens", 60), ("tokens", 86_400)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(learn, *zip(*windows, strict=True)))
    assert max(found) >= 4 * 199
    assert amounts(key.quota("m")) == dict.fromkeys(windows, 199)


def test_a_binding_tells_what_the_provider_needs_to_know() -> None:
    key = bind(models={"gpt-4o": ModelSettings(alias="prod"), "o1": ModelSettings()})
    assert [key.alias(model) for model in ("gpt-4o", "o1")] == ["prod", None]
    with pytest.raises(LookupError):
        key.alias("other")
    assert (key.provider, key.api_version, key.group, key.group_scope) == ("openai", None, None, None)
    azure = bind(provider="azure", base_url="https://h", group="org")
    assert (azure.provider, azure.api_version, azure.group, azure.group_scope) == (
        "azure",
        "2024-10-21",
        "org",
        "group:org",
    )
    assert bind(provider="azure", api_version="v1").api_version == "v1"


@pytest.mark.parametrize(
    ("provider", "refunds", "expected"),
    [("openai", None, False), ("anthropic", None, True), ("openai", True, True), ("anthropic", False, False)],
)
def test_refunds_are_the_providers_unless_the_file_says_otherwise(
    provider: Provider, refunds: bool | None, expected: bool
) -> None:
    assert bind(provider=provider, refunds=refunds).refunds is expected
