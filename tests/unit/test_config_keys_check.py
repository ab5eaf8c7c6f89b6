"""Warnings about a keys file that can be read and most likely means something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyfleet.config import Environment, keys_warnings, load_keys_file

SECRET = "sk-very-secret-0123456789"


def warnings_of(tmp_path: Path, *keys: str, groups: str = "") -> tuple[str, ...]:
    path = tmp_path / "keys.yaml"
    listed = "".join(f"- {{name: k{n}, {key}}}\n" for n, key in enumerate(keys, 1))
    path.touch(mode=0o600)
    path.write_text(f"{groups}keys:\n{listed}", encoding="utf-8")
    found = keys_warnings(load_keys_file(path, Environment({})))
    assert SECRET not in str(found)
    return found


def test_a_file_that_means_what_it_says_has_no_warnings(tmp_path: Path) -> None:
    assert not warnings_of(
        tmp_path,
        "api_key: file:/1, group: org, models: {gpt-4o*: {rpm: 5}, gpt-4o-mini: {rpm: 6}, 'o[13]': }",
        "api_key: file:/2, group: org, models: {gpt-4o*: {rpm: 5}, gpt-4o-mini: {rpm: 6}}",
        'api_key: "${A}", proxy: "http://me:${PASSWORD}@host:8080", rpm: 7',
        'api_key: "${A}", base_url: "http://other.example/v1"',
    )


def test_different_limits_for_one_pool_of_a_group_are_named_once(tmp_path: Path) -> None:
    found = warnings_of(
        tmp_path,
        "api_key: file:/1, group: org, models: {a: {rpm: 5}, b: {rpm: 5}}",
        "api_key: file:/2, group: org, models: {a: {rpm: 6}, b: {rpm: 5}}",
        "api_key: file:/3, group: org, models: {a: {rpm: 7}}",
    )
    assert len(found) == 1
    assert "key k2 (line 3) and key k1 (line 2) share the limits of a in group org, but give different" in found[0]


def test_keys_of_one_project_share_its_limits_and_others_do_not(tmp_path: Path) -> None:
    keys = [
        "api_key: file:/1, group: org, project: p, rpm: 5",
        "api_key: file:/2, group: org, project: q, rpm: 6",
        "api_key: file:/3, group: org, rpm: 7",
        "api_key: file:/4, group: org, rpm: 8",
    ]
    groups = "groups: {org: {rpm: 50}}\n"
    assert not warnings_of(tmp_path, *keys, groups=groups)
    (found,) = warnings_of(tmp_path, *keys, "api_key: file:/5, group: org, project: p, rpm: 6", groups=groups)
    assert "key k5 (line 7) and key k1 (line 3) share the limits of *" in found


def test_one_secret_under_two_names_is_named(tmp_path: Path) -> None:
    (found,) = warnings_of(tmp_path, 'api_key: "${A}"', 'api_key: "${B}"', 'api_key: "${A}"')
    assert "key k3 (line 4) and key k1 (line 2) have the same api_key" in found


@pytest.mark.parametrize(
    ("models", "dead", "winner"), [("o*: , 'o?': {rpm: 5}", "o?", "o*"), ("'**': {rpm: 5}, '*': ", "*", "**")]
)
def test_a_pattern_that_never_applies_is_named(tmp_path: Path, models: str, dead: str, winner: str) -> None:
    (found,) = warnings_of(tmp_path, f"api_key: file:/1, models: {{{models}}}")
    assert found == (f"key k1 (line 2): the models of `{dead}` all go to `{winner}`, so `{dead}` never applies")


def test_a_pattern_of_a_group_that_never_applies_is_named_once(tmp_path: Path) -> None:
    groups = "groups: {org: {models: {o*: {rpm: 5}, 'o?': {rpm: 6}}}}\n"
    (found,) = warnings_of(tmp_path, "api_key: file:/1, group: org", "api_key: file:/2, group: org", groups=groups)
    assert found.startswith("group org: the models of `o?` all go to `o*`")


@pytest.mark.parametrize("proxy", [f"http://me:{SECRET}@host:8080", f"http://{SECRET}@host", "http://me:x${A}@host"])
def test_secrets_that_are_written_out_are_named_by_field(tmp_path: Path, proxy: str) -> None:
    found = warnings_of(tmp_path, f"api_key: {SECRET}, proxy: '{proxy}'")
    assert [text.partition(" is written out in the file")[0] for text in found] == [
        "key k1 (line 2): the secret of `api_key`",
        "key k1 (line 2): the secret of `proxy`",
    ]
