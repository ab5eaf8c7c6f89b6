"""`keyfleet run`: its options, the cookbook's spellings, refusals, and exit codes. Nothing is connected to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from keyfleet.cli import run as run_module
from keyfleet.cli import run_job as run_job_module
from keyfleet.cli.run import run
from keyfleet.config import Environment, Settings
from keyfleet.running import RunOptions

SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_job_module, "_configure_logging", lambda console, level: None)
    line = {"model": "m", "prompt": "p", "max_tokens": 1}
    (tmp_path / "in.jsonl").write_text(json.dumps(line) + "\n")
    return tmp_path


Job = tuple[RunOptions, Settings]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """What would have been run; each job ends with exit code 1."""
    found: list[Job] = []

    def run_job(options: RunOptions, settings: Settings, env: Environment) -> int:
        found.append((options, settings))
        return 1

    monkeypatch.setattr(run_module, "run_job", run_job)
    return found


def invoke(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(run, arguments, env=dict(variables), prog_name="keyfleet run")


def test_the_exit_code_is_that_of_the_job(jobs: list[Job]) -> None:
    assert invoke("in.jsonl").exit_code == 1


def test_defaults_are_those_that_the_help_names(jobs: list[Job]) -> None:
    invoke("in.jsonl")
    ((options, settings),) = jobs
    assert options == RunOptions("in.jsonl")
    assert (settings.max_attempts, settings.timeout_s, settings.timeout_attempts) == (5, 600.0, 2)
    assert (settings.give_up_after_s, settings.broker_url, settings.use) == (None, None, 1.0)


def test_every_option_arrives(jobs: list[Job]) -> None:
    invoke(
        *("in.jsonl", "-o", "out.jsonl", "--keys", "k.yaml", "--broker", "redis://h:1/0", "--fleet", "f"),
        *("--url", "/v1/embeddings", "--limit", "9", "--use", "70%", "--max-attempts", "3", "--timeout", "2m"),
        *("--timeout-attempts", "1", "--concurrency", "8", "--ordered", "--overwrite", "--no-stop-early"),
        *("--give-up-after", "1h", "--no-workers", "--no-progress", "--log-level", "debug"),
        *("--requests-per-minute", "60", "--tokens-per-minute", "6000", "--token-encoding", "cl100k_base"),
        *("--pack", "--pack-inputs", "99"),
    )
    ((options, settings),) = jobs
    assert options == RunOptions(
        input_name="in.jsonl",
        output=Path("out.jsonl"),
        url="/v1/embeddings",
        limit_lines=9,
        ordered=True,
        overwrite=True,
        stop_early=False,
        pack_inputs=99,
        use_local_workers=False,
        encoding_name="cl100k_base",
        requests_per_minute=60.0,
        tokens_per_minute=6000.0,
        keys_path=Path("k.yaml"),
    )
    assert (settings.broker_url, settings.fleet, settings.use) == ("redis://h:1/0", "f", 0.7)
    assert (settings.max_attempts, settings.timeout_s, settings.timeout_attempts) == (3, 120.0, 1)
    assert (settings.concurrency, settings.give_up_after_s) == (8, 3600.0)
    assert (settings.progress, settings.log_level) == (False, 10)


@pytest.mark.parametrize(
    ("arguments", "variables", "pack_inputs"),
    [
        ((), {}, None),
        (("--pack",), {}, 2048),
        ((), {"KEYFLEET_PACK": "yes", "KEYFLEET_PACK_INPUTS": "32"}, 32),
        (("--no-pack",), {"KEYFLEET_PACK": "yes"}, None),
        (("--pack-inputs", "32"), {}, None),
    ],
)
def test_requests_share_calls_only_where_that_is_asked_for(
    jobs: list[Job], arguments: tuple[str, ...], variables: dict[str, str], pack_inputs: int | None
) -> None:
    invoke("in.jsonl", *arguments, **variables)
    ((options, _),) = jobs
    assert options.pack_inputs == pack_inputs


def test_the_command_line_of_the_cookbook_works(jobs: list[Job]) -> None:
    invoke(
        *("--requests_filepath", "in.jsonl", "--save_filepath", "out.jsonl"),
        *("--request_url", "https://api.openai.com/v1/embeddings", "--max_requests_per_minute", "1500"),
        *("--max_tokens_per_minute", "6250000", "--token_encoding_name", "cl100k_base"),
        *("--max_attempts", "5", "--logging_level", "20"),
    )
    ((options, settings),) = jobs
    assert (options.input_name, options.output) == ("in.jsonl", Path("out.jsonl"))
    assert options.url == "https://api.openai.com/v1/embeddings"
    assert (options.requests_per_minute, options.tokens_per_minute) == (1500.0, 6250000.0)
    assert (options.encoding_name, settings.max_attempts, settings.log_level) == ("cl100k_base", 5, 20)


def test_the_environment_sets_what_the_command_line_does_not(jobs: list[Job]) -> None:
    variables = {
        "KEYFLEET_OUTPUT": "env.jsonl",
        "KEYFLEET_LIMIT": "4",
        "KEYFLEET_MAX_ATTEMPTS": "7",
        "KEYFLEET_ORDERED": "1",
        "KEYFLEET_USE": "50%",
        "KEYFLEET_URL": "/v1/embeddings",
    }
    invoke("in.jsonl", "--max-attempts", "2", "--no-ordered", **variables)
    ((options, settings),) = jobs
    assert (options.output, options.limit_lines, options.url) == (Path("env.jsonl"), 4, "/v1/embeddings")
    assert (settings.max_attempts, settings.use, options.ordered) == (2, 0.5, False)


def test_a_dotenv_file_comes_behind_the_environment(jobs: list[Job], directory: Path) -> None:
    (directory / ".env").write_text("KEYFLEET_LIMIT=4\nKEYFLEET_MAX_ATTEMPTS=7\nKEYFLEET_TIMEOUT_ATTEMPTS=3\n")
    invoke("in.jsonl", "--timeout-attempts", "1", KEYFLEET_MAX_ATTEMPTS="6")
    ((options, settings),) = jobs
    assert (options.limit_lines, settings.max_attempts, settings.timeout_attempts) == (4, 6, 1)


@pytest.mark.parametrize("option", ["--api_key", "--api-key"])
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(jobs: list[Job], option: str) -> None:
    result = invoke("in.jsonl", option, SECRET)
    assert result.exit_code == 2
    assert "set OPENAI_API_KEY in the environment" in " ".join(result.output.split())
    assert SECRET not in result.output
    assert not jobs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name the input"),
        (("in.jsonl", "--requests_filepath", "in.jsonl"), "named twice"),
        (("in.jsonl", "--overwrite", "--retry-failed"), "give one of them"),
        (("in.jsonl", "--limit", "0"), "--limit"),
        (("in.jsonl", "--use", "170%"), "--use"),
        (("in.jsonl", "--timeout", "soon"), "--timeout"),
        (("in.jsonl", "--max-attempts", "none"), "--max-attempts"),
        (("in.jsonl", "--concurrency", "0"), "--concurrency"),
        (("in.jsonl", "--broker", "http://h"), "--broker"),
        (("in.jsonl", "--fleet", "a b"), "--fleet"),
        (("in.jsonl", "--log-level", "loud"), "--log-level"),
        (("in.jsonl", "--wrong"), "--wrong"),
    ],
)
def test_misuse_is_named_and_has_exit_code_two(jobs: list[Job], arguments: tuple[str, ...], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not jobs


def test_a_broker_address_that_is_wrong_is_not_repeated(jobs: list[Job]) -> None:
    result = invoke("in.jsonl", "--broker", f"http://:{SECRET}@h")
    assert result.exit_code == 2
    assert SECRET not in result.output
