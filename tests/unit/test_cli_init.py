"""`keyfleet init`: a commented keys file of references, which the loader reads as it stands."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from keyfleet.cli.init import init
from keyfleet.config import Environment, KeyConfig, environment_keys, load_keys_file

SECRET = "sk-very-secret"

FOUND = {
    "OPENAI_API_KEY_1": f"{SECRET}-1",
    "OPENAI_API_KEY_NULL": f"{SECRET}-2",
    "OPENAI_API_KEY_PATH": "/run/secrets/key",
    "OPENAI_API_PROXY": f"http://me:{SECRET}@h",
    "OPENAI_API_PROXY_1": f"http://me:{SECRET}@one",
    "OPENAI_BASE_URL": "http://127.0.0.1:8000/v1",
    "OPENAI_ORG_ID": "org-1",
    "REQUESTS_PER_MIN_LIMIT": "60",
    "TOKENS_PER_MIN_LIMIT": "1500.0",
}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, **variables: str) -> Result:
    unset = dict.fromkeys(environment_variables_of_keys())
    return CliRunner().invoke(init, arguments, env={**unset, **variables})


def environment_variables_of_keys() -> list[str]:
    """Those of the machine that runs the test, which must not show up in it."""
    env = Environment.read(cwd=Path("/nonexistent"))
    return [*env.names_starting_with("OPENAI_"), *env.names_starting_with("KEYFLEET_")]


def written(directory: Path, **variables: str) -> tuple[KeyConfig, ...]:
    return load_keys_file(directory / "keys.yaml", Environment(variables))


def test_the_file_reads_back_as_the_keys_that_were_found(directory: Path) -> None:
    result = run(**FOUND)
    assert result.exit_code == 0, result.output
    assert written(directory, **FOUND) == environment_keys(Environment(FOUND))


def test_a_limit_of_images_is_written_like_the_others(directory: Path) -> None:
    variables = {**FOUND, "KEYFLEET_IMAGES_PER_MINUTE": "50"}
    run(**variables)
    assert "    images: [50/minute]" in (directory / "keys.yaml").read_text(encoding="utf-8")
    assert written(directory, **variables) == environment_keys(Environment(variables))


def test_the_file_holds_references_and_no_value_that_might_be_secret(directory: Path) -> None:
    result = run(**FOUND)
    text = (directory / "keys.yaml").read_text(encoding="utf-8")
    assert SECRET not in text + result.output
    assert "api_key: ${OPENAI_API_KEY_1}" in text
    assert "proxy: ${OPENAI_API_PROXY_1}" in text
    assert "api_key: file:${OPENAI_API_KEY_PATH}" in text


def test_the_dotenv_file_is_looked_at_as_well(directory: Path) -> None:
    (directory / ".env").write_text(f"OPENAI_API_KEY_7={SECRET}\n")
    run()
    assert [key.name for key in written(directory)] == ["key-7"]


def test_without_keys_the_file_is_an_example_that_reads_and_names_the_variable_to_set(directory: Path) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    assert "no API key found" in result.output
    (key,) = written(directory)
    assert (key.name, key.models, key.limits) == ("default", {}, None)
    assert key.unset_variables(Environment({})) == ("OPENAI_API_KEY",)


@pytest.mark.parametrize("variables", [FOUND, {}, {"OPENAI_API_KEY": SECRET}])
def test_every_commented_field_works_when_its_comment_sign_is_taken_away(
    directory: Path, variables: dict[str, str]
) -> None:
    run(**variables)
    path = directory / "keys.yaml"
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^    requests:.*\n    tokens:.*\n", "", text, flags=re.MULTILINE)
    field = re.compile(r"^( *)# (?= *(?:[a-z_0-9-]+|\"[^\"]+\"):(?: |$))", re.MULTILINE)
    path.write_text(field.sub(r"\1", text), encoding="utf-8")
    first = load_keys_file(path, Environment(FOUND))[0]
    assert (first.headroom, first.timeout_s, first.concurrency) == (0.3, 600.0, 32)
    assert (first.group, list(first.headers), first.workers) == ("org-research", ["X-Team"], 1)
    assert first.refunds is False
    assert [pool.scope for pool in first.pools_for("gpt-4o-mini")] == ["gpt-4o*", "gpt-4o-mini"]
    assert first.serves("gpt-4o-mini")
    assert not first.serves("other")


def test_only_its_owner_may_read_the_file(directory: Path) -> None:
    run()
    assert stat.S_IMODE((directory / "keys.yaml").stat().st_mode) == 0o600


def test_a_file_that_is_there_is_refused_and_left_alone(directory: Path) -> None:
    path = directory / "keys.yaml"
    path.write_text("mine")
    result = run(OPENAI_API_KEY=SECRET)
    assert result.exit_code == 2
    assert "keys.yaml is there already; --force replaces it" in result.output
    assert path.read_text() == "mine"
    assert [entry.name for entry in directory.iterdir()] == ["keys.yaml"], "nothing is left behind"


def test_force_replaces_the_file_and_its_mode(directory: Path) -> None:
    path = directory / "keys.yaml"
    path.write_text("mine")
    path.chmod(0o644)
    assert run("--force", OPENAI_API_KEY=SECRET).exit_code == 0
    assert [key.name for key in written(directory)] == ["default"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_another_file_may_be_named_and_the_next_step_names_it_too(directory: Path) -> None:
    result = run("-o", "other.yaml", OPENAI_API_KEY=SECRET)
    assert "next: keyfleet run requests.jsonl --keys other.yaml" in result.output
    assert [entry.name for entry in directory.iterdir()] == ["other.yaml"]


def test_the_next_step_is_shown(directory: Path) -> None:
    result = run(**FOUND)
    assert "3 keys (default from OPENAI_API_KEY_PATH, key-1 from OPENAI_API_KEY_1, null from" in result.output
    assert result.output.endswith("next: keyfleet run requests.jsonl\n")


@pytest.mark.parametrize("target", ["gone/keys.yaml", "."])
def test_a_file_that_cannot_be_written_is_an_error(target: str) -> None:
    result = run("-o", target)
    assert result.exit_code == 2
    assert "Error" in result.output


def test_a_wrong_variable_is_named(directory: Path) -> None:
    result = run(OPENAI_API_KEY=SECRET, REQUESTS_PER_MIN_LIMIT="many")
    assert result.exit_code == 2
    assert "REQUESTS_PER_MIN_LIMIT: expected a number of at least 1" in result.output
    assert not list(directory.iterdir())
