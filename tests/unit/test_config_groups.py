"""Groups with limits of their own: the organisation's pool, and the pools of its projects in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyfleet.config import Environment, KeyConfig, ModelLimits, Pool, load_keys_file, parse_limits
from keyfleet.errors import KeysFileError

ORGANISATION = ModelLimits(parse_limits(["10000/minute"]), parse_limits(["2000000/minute"]))
PROJECT = ModelLimits(parse_limits(["500/minute"]))

GROUPS = "groups:\n  org: {models: {gpt-4o*: {rpm: 10k, tpm: 2M}}}\n"


def load(tmp_path: Path, groups: str, *keys: str) -> tuple[KeyConfig, ...]:
    path = tmp_path / "keys.yaml"
    listed = "".join(f"- {{name: k{n}, api_key: file:/{n}, {key}}}\n" for n, key in enumerate(keys))
    path.write_text(f"{groups}keys:\n{listed}", encoding="utf-8")
    return load_keys_file(path, Environment({}))


def test_limits_at_a_key_are_its_projects_within_those_of_its_group(tmp_path: Path) -> None:
    (key,) = load(tmp_path, GROUPS, "group: org, project: p, models: {gpt-4o: {rpm: 500}}")
    assert key.pools_for("gpt-4o") == (Pool("group", "gpt-4o*", ORGANISATION), Pool("own", "gpt-4o", PROJECT))


@pytest.mark.parametrize("models", ["models: [gpt-4o, other]", "workers: 1"])
def test_a_key_without_limits_draws_on_its_groups_pool_alone(tmp_path: Path, models: str) -> None:
    (key,) = load(tmp_path, GROUPS, f"group: org, {models}")
    assert key.pools_for("gpt-4o") == (Pool("group", "gpt-4o*", ORGANISATION),)
    assert key.pools_for("other") == (Pool("group", "other", None),), "its limits are learned"


def test_limits_for_all_models_of_the_project_lie_within_each_pool_of_the_group(tmp_path: Path) -> None:
    (key,) = load(tmp_path, GROUPS, "group: org, rpm: 500")
    own = Pool("own", "*", PROJECT)
    assert key.pools_for("gpt-4o-mini") == (Pool("group", "gpt-4o*", ORGANISATION), own)
    assert key.pools_for("o1") == (Pool("group", "o1", None), own)


def test_a_group_may_have_limits_for_all_models_together_or_none_yet(tmp_path: Path) -> None:
    (key,) = load(tmp_path, "groups: {org: {rpm: 500}}\n", "group: org")
    assert key.pools_for("any") == (Pool("group", "*", PROJECT),)
    (key,) = load(tmp_path, "groups: {org: }\n", "group: org, rpm: 500")
    assert key.pools_for("any") == (Pool("group", "any", None), Pool("own", "*", PROJECT))


def test_models_of_a_group_may_be_families(tmp_path: Path) -> None:
    groups = "groups:\n  org:\n    models:\n      a, b: {rpm: 500}\n      c: {family: a}\n"
    (key,) = load(tmp_path, groups, "group: org")
    assert {key.pools_for(model) for model in "abc"} == {(Pool("group", "a", PROJECT),)}


def test_where_the_group_is_not_listed_the_limits_of_the_key_are_the_groups(tmp_path: Path) -> None:
    (listed, other, alone) = load(tmp_path, GROUPS, "group: org, rpm: 500", "group: other, rpm: 500", "rpm: 500")
    assert len(listed.pools_for("gpt-4o")) == 2
    assert other.pools_for("gpt-4o") == (Pool("group", "*", PROJECT),)
    assert alone.pools_for("gpt-4o") == (Pool("own", "*", PROJECT),)


def test_patterns_of_the_group_do_not_widen_what_a_key_serves(tmp_path: Path) -> None:
    (key,) = load(tmp_path, GROUPS, "group: org, models: [o1]")
    assert not key.serves("gpt-4o")
    with pytest.raises(LookupError):
        key.pools_for("gpt-4o")


def test_a_changed_limit_of_the_group_is_a_change_of_its_keys(tmp_path: Path) -> None:
    before, after = (
        load(tmp_path, f"groups: {{org: {{rpm: {amount}}}}}\n", "group: org", "group: org") for amount in (5, 6)
    )
    assert before != after
    assert before[0].group_settings == before[1].group_settings
    assert hash(before[0]) != hash(before[1])


@pytest.mark.parametrize(
    ("groups", "line_number", "message"),
    [
        ("groups:\n  orgg: {rpm: 5}\n", 2, "`groups`: no key has `group: orgg`; did you mean `org`?"),
        ("groups:\n\n  xyz:\n", 3, "`groups`: no key has `group: xyz`; expected one of org"),
        ("groups: {a b: }\n", 1, "`group`: expected 1 to 64 letters"),
        ("groups: [org]\n", 1, "`groups`: expected a mapping"),
        ("groups: {org: 5}\n", 1, "group org: expected a mapping"),
        ("groups:\n  org: {rpmm: 5}\n", 2, "group org: unknown field `rpmm`; did you mean `rpm`?"),
        ("groups:\n  org:\n    models: {a: {as: b}}\n", 3, "limits of a model: unknown field `as`"),
        ("groups:\n  org:\n    models: {a: }\n    rpm: 5\n", 4, "`rpm` beside `models`"),
    ],
)
def test_what_is_wrong_in_a_group_is_named_with_its_line(
    tmp_path: Path, groups: str, line_number: int, message: str
) -> None:
    with pytest.raises(KeysFileError) as caught:
        load(tmp_path, groups, "group: org")
    assert message in str(caught.value)
    assert caught.value.line_number == line_number


def test_where_no_key_has_a_group_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeysFileError, match="no key has `group: org`; expected one of none"):
        load(tmp_path, "groups: {org: }\n", "rpm: 5")
