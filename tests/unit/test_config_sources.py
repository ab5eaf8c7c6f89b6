"""Where keys come from: one keys file and nothing else, or else the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyfleet.config import Environment, KeyConfig, KeySource, ModelLimits, ModelSettings, find_keys, parse_limits
from keyfleet.errors import ConfigurationError, KeysFileError

SECRET = "sk-very-secret"
ONE_KEY = "keys: [{name: one, api_key: file:/a}]\n"
TWO_KEYS = "keys: [{name: one, api_key: file:/a}, {name: two, api_key: file:/b}]\n"


def find(cwd: Path, **variables: str) -> KeySource:
    return find_keys(option_path=None, env=Environment(variables), cwd=cwd)


def find_in(path: Path, cwd: Path, **variables: str) -> KeySource:
    return find_keys(option_path=path, env=Environment(variables), cwd=cwd)


def names(source: KeySource) -> list[str]:
    return [key.name for key in source.keys]


def test_a_file_given_wins_over_the_variable_the_variable_over_a_found_file_and_files_over_keys_of_the_environment(
    tmp_path: Path,
) -> None:
    for stem in ("option", "variable", "found"):
        (tmp_path / f"{stem}.yaml").write_text(f"keys: [{{name: {stem}, api_key: file:/a}}]")
    env = {"OPENAI_API_KEY": SECRET}
    assert names(find(tmp_path, **env)) == ["default"]
    (tmp_path / "found.yaml").rename(tmp_path / "keys.yml")
    assert names(find(tmp_path, **env)) == ["found"]
    env["KEYFLEET_KEYS"] = "variable.yaml"
    assert names(find(tmp_path, **env)) == ["variable"]
    assert names(find_in(tmp_path / "option.yaml", tmp_path, **env)) == ["option"]


def test_keys_yaml_is_found_before_keys_yml(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(TWO_KEYS)
    (tmp_path / "keys.yml").write_text(ONE_KEY)
    source = find(tmp_path)
    assert source.path == tmp_path / "keys.yaml"
    assert source.description == "keys: 2 from ./keys.yaml"


def test_a_file_elsewhere_is_described_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(ONE_KEY)
    assert find_in(path, tmp_path / "sub").description == f"keys: 1 from {path}"


def test_a_file_that_was_named_and_is_not_there_is_an_error_although_the_environment_has_keys(tmp_path: Path) -> None:
    with pytest.raises(KeysFileError, match=r"gone\.yaml: can't be read"):
        find(tmp_path, OPENAI_API_KEY=SECRET, KEYFLEET_KEYS="gone.yaml")


def test_variables_with_limits_do_not_change_the_keys_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(ONE_KEY)
    (key,) = find(tmp_path, REQUESTS_PER_MIN_LIMIT="7", OPENAI_API_PROXY="http://h", OPENAI_BASE_URL="http://b").keys
    assert (key.limits, key.proxy, key.base_url) == (None, None, "https://api.openai.com/v1")


def test_every_variable_that_begins_with_openai_api_key_gives_a_key_in_the_order_of_their_numbers(
    tmp_path: Path,
) -> None:
    variables = dict.fromkeys((f"OPENAI_API_KEY{n}" for n in ("_RESEARCH", "_10", "_2", "", "3")), SECRET)
    source = find(tmp_path, **variables, OPENAI_API_KEY_4=" ")
    assert names(source) == ["default", "key-2", "key-3", "key-10", "research"]
    assert {key.name: key.api_key.variables for key in source.keys}["research"] == ("OPENAI_API_KEY_RESEARCH",)
    assert SECRET not in repr(source)


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("OPENAI_API_KEY", "default"),
        ("OPENAI_API_KEY_1", "key-1"),
        ("OPENAI_API_KEY1", "key-1"),
        ("OPENAI_API_KEY_RESEARCH", "research"),
        ("OPENAI_API_KEY_TEAM_A", "team-a"),
        ("OPENAI_API_KEY_", "default"),
        ("OPENAI_API_KEY_" + "X" * 99, "x" * 60),
    ],
)
def test_the_suffix_of_the_variable_names_the_key(tmp_path: Path, variable: str, name: str) -> None:
    assert names(find(tmp_path, **{variable: SECRET})) == [name]


def test_a_variable_that_cannot_be_referred_to_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert names(find(tmp_path, **{"OPENAI_API_KEY": SECRET, "OPENAI_API_KEY_É!": SECRET})) == ["default"]
    assert "OPENAI_API_KEY_\\xc9!' is passed over" in caplog.text


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    assert names(find(tmp_path, OPENAI_API_KEY1=SECRET, OPENAI_API_KEY_1=SECRET)) == ["key-1", "key-1-2"]


def test_a_key_has_the_proxy_of_its_suffix_else_the_proxy_of_all_and_none_if_its_own_is_blank(tmp_path: Path) -> None:
    keys = find(
        tmp_path,
        OPENAI_API_KEY_1=SECRET,
        OPENAI_API_KEY_2=SECRET,
        OPENAI_API_KEY_3=SECRET,
        OPENAI_API_PROXY="http://all",
        OPENAI_API_PROXY_2="http://two",
        OPENAI_API_PROXY_3="",
    ).keys
    assert [str(key.proxy) for key in keys] == ["${OPENAI_API_PROXY}", "${OPENAI_API_PROXY_2}", "None"]


def test_a_variable_that_names_a_file_gives_the_key_in_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = find(tmp_path, OPENAI_API_KEY_PATH="/a", OPENAI_API_KEY_1_FILE="/b", OPENAI_API_PROXY_1="http://one").keys
    assert [(key.name, str(key.api_key)) for key in keys] == [
        ("default", "file:${OPENAI_API_KEY_PATH}"),
        ("key-1", "file:${OPENAI_API_KEY_1_FILE}"),
    ]
    assert str(keys[1].proxy) == "${OPENAI_API_PROXY_1}"
    assert not caplog.records


def test_a_key_wins_over_a_file_of_the_same_suffix_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (key,) = find(tmp_path, OPENAI_API_KEY=SECRET, OPENAI_API_KEY_PATH="/a").keys
    assert str(key.api_key) == "${OPENAI_API_KEY}"
    assert "OPENAI_API_KEY_PATH is passed over" in caplog.text


@pytest.mark.parametrize("separator", [",", " ", ";", ", "])
def test_several_keys_in_one_variable_are_refused_without_showing_them(tmp_path: Path, separator: str) -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEYS: expected one key") as caught:
        find(tmp_path, OPENAI_API_KEYS=f"{SECRET}{separator}{SECRET}2")
    assert caught.value.setting == "OPENAI_API_KEYS"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "variables",
    [
        {"OPENAI_BASE_URL": "http://h/v1/", "OPENAI_ORG_ID": "org", "OPENAI_PROJECT_ID": "proj"},
        {"OPENAI_API_BASE": "http://h/v1", "OPENAI_ORGANIZATION": "org", "OPENAI_PROJECT_ID": "proj"},
    ],
)
def test_address_organization_and_project_hold_for_all_keys(tmp_path: Path, variables: dict[str, str]) -> None:
    keys = find(tmp_path, OPENAI_API_KEY_1=SECRET, OPENAI_API_KEY_2=SECRET, **variables).keys
    assert {(key.base_url, key.organization, key.project) for key in keys} == {("http://h/v1", "org", "proj")}


def test_a_wrong_address_is_named_by_its_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^OPENAI_API_BASE: expected an address"):
        find(tmp_path, OPENAI_API_KEY=SECRET, OPENAI_API_BASE=SECRET)


@pytest.mark.parametrize("requests", ["REQUESTS_PER_MIN_LIMIT", "OPENAI_REQUESTS_PER_MIN_LIMIT"])
@pytest.mark.parametrize("tokens", ["TOKENS_PER_MIN_LIMIT", "OPENAI_TOKENS_PER_MIN_LIMIT"])
def test_limits_of_the_environment_hold_for_each_key(tmp_path: Path, requests: str, tokens: str) -> None:
    (key,) = find(tmp_path, OPENAI_API_KEY=SECRET, **{requests: "1500.0", tokens: "250000"}).keys
    assert key.pools_for("any")[0].limits == ModelLimits(parse_limits(["1500/minute"]), parse_limits(["250000/minute"]))


def test_a_limit_of_images_of_the_environment_holds_for_each_key_too(tmp_path: Path) -> None:
    (key,) = find(tmp_path, OPENAI_API_KEY=SECRET, KEYFLEET_IMAGES_PER_MINUTE="50").keys
    assert key.limits == ModelLimits(images=parse_limits(["50/minute"]))


def test_without_variables_for_limits_they_are_learned(tmp_path: Path) -> None:
    (key,) = find(tmp_path, OPENAI_API_KEY=SECRET).keys
    assert key.pools_for("any")[0].limits is None


def limited(
    cwd: Path, requests: float | None, tokens: float | None, variables: dict[str, str]
) -> tuple[KeyConfig, ...]:
    return find_keys(
        option_path=None,
        env=Environment(variables),
        cwd=cwd,
        requests_per_minute=requests,
        tokens_per_minute=tokens,
    ).keys


def test_limits_given_as_options_hold_for_each_key_of_the_environment(tmp_path: Path) -> None:
    variables = {"OPENAI_API_KEY": SECRET, "REQUESTS_PER_MIN_LIMIT": "1", "TOKENS_PER_MIN_LIMIT": "9"}
    (key,) = limited(tmp_path, 1500.5, None, variables)
    assert key.limits == ModelLimits(parse_limits(["1500/minute"]), parse_limits(["9/minute"]))


def test_limits_given_as_options_leave_those_of_images_as_they_are(tmp_path: Path) -> None:
    (key,) = limited(tmp_path, 20, None, {"OPENAI_API_KEY": SECRET, "KEYFLEET_IMAGES_PER_MINUTE": "5"})
    assert key.limits == ModelLimits(parse_limits(["20/minute"]), (), parse_limits(["5/minute"]))


def test_limits_given_as_options_replace_those_of_the_minute_in_a_file_and_keep_the_others(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(
        "keys: [{name: a, api_key: x, models: {o1: {requests: [500/minute, 10000/day]}, o2: }}]"
    )
    (tmp_path / "keys.yaml").chmod(0o600)
    (key,) = limited(tmp_path, 20, 30, {})
    assert key.models == {
        "o1": ModelSettings(ModelLimits(parse_limits(["20/minute", "10000/day"]), parse_limits(["30/minute"]))),
        "o2": ModelSettings(ModelLimits(parse_limits(["20/minute"]), parse_limits(["30/minute"]))),
    }


@pytest.mark.parametrize("amount", [0, 0.5, -1, float("nan"), float("inf")])
def test_a_limit_below_one_is_refused_by_the_name_of_its_option(tmp_path: Path, amount: float) -> None:
    with pytest.raises(ConfigurationError, match="--max_tokens_per_minute: expected a number of at least 1"):
        limited(tmp_path, None, amount, {"OPENAI_API_KEY": SECRET})


def test_without_any_key_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"OPENAI_API_KEY.*keyfleet init.*--keys"):
        find(tmp_path, OPENAI_API_KEY="")


def test_keys_of_the_environment_are_described_by_their_variables_and_where_these_stand(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY_2={SECRET}\n")

    def description(**environ: str) -> str:
        env = Environment.read(cwd=tmp_path, environ=environ)
        return find_keys(option_path=None, env=env, cwd=tmp_path).description

    both = "keys: 2 from the environment and .env (OPENAI_API_KEY_1, OPENAI_API_KEY_2)"
    assert description(OPENAI_API_KEY_1=SECRET) == both
    assert description() == "keys: 1 from .env (OPENAI_API_KEY_2)"
    assert description(OPENAI_API_KEY_2=SECRET) == "keys: 1 from the environment (OPENAI_API_KEY_2)"


def test_the_check_of_a_source_names_the_unset_variable_and_the_line_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text("keys:\n- name: a\n  api_key: ${UNSET_KEY}\n")
    source = find(tmp_path)
    with pytest.raises(KeysFileError, match=r"keys\.yaml, line 2: UNSET_KEY is not set"):
        source.check_variables(Environment({}))
    source.check_variables(Environment({"UNSET_KEY": SECRET}))
