"""`keyfleet worker`: which key it serves, what it needs, and errors that name what to do. Nothing is connected to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from keyfleet.config import Environment, KeyConfig
from keyfleet.errors import BrokerUnavailable, ConfigurationError
from keyfleet_workers import celery_app as app_module
from keyfleet_workers.cli import worker as worker_module
from keyfleet_workers.cli.worker import worker
from keyfleet_workers.process import WorkerOptions
from keyfleet_workers.supervisor import CONFIGURATION_EXIT

BROKER = "redis://:s3cret@127.0.0.1:1/0"
KEYS = "keys:\n" + "".join(f"  - {{name: {name}, api_key: '${{KEY_{name}}}'}}\n" for name in ("one", "two"))


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.yaml").write_text(KEYS)
    monkeypatch.setattr(worker_module, "end_with", lambda descriptor: None)
    return tmp_path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[KeyConfig, WorkerOptions]]:
    """The keys that were served; each ends with exit code 7."""
    found: list[tuple[KeyConfig, WorkerOptions]] = []

    def run_worker(key: KeyConfig, env: Environment, options: WorkerOptions) -> int:
        found.append((key, options))
        return 7

    monkeypatch.setattr(worker_module, "run_worker", run_worker)
    return found


Served = list[tuple[KeyConfig, WorkerOptions]]


def invoke(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(worker, arguments, env=dict(variables))


def refused(*arguments: str, **variables: str) -> ConfigurationError:
    error = invoke(*arguments, **variables).exception
    assert isinstance(error, ConfigurationError)
    return error


def test_the_key_that_is_named_is_served(served: Served) -> None:
    result = invoke("--key", "two", "--broker", BROKER, "--use", "50%", "--concurrency", "9", "--fleet", "f")
    assert result.exit_code == 7
    ((key, options),) = served
    assert (key.name, options.broker_url) == ("two", BROKER)
    assert (options.settings.use, options.settings.concurrency, options.settings.fleet) == (0.5, 9, "f")


def test_the_environment_can_name_the_key_and_the_broker(served: Served) -> None:
    invoke(KEYFLEET_KEY="one", KEYFLEET_BROKER_URL=BROKER)
    ((key, options),) = served
    assert (key.name, options.broker_url) == ("one", BROKER)


def test_a_single_key_need_not_be_named(served: Served, directory: Path) -> None:
    (directory / "keys.yaml").write_text("keys:\n  - {name: only, api_key: '${KEY}'}\n")
    invoke("--broker", BROKER)
    assert served[0][0].name == "only"


def test_of_several_keys_one_must_be_chosen(served: Served) -> None:
    error = refused("--broker", BROKER)
    assert str(error) == "say which key to serve with --key (one, two), or --all"
    assert error.setting == "--key"
    assert not served


def test_a_name_that_no_key_has_is_not_repeated_but_those_that_are_there(served: Served) -> None:
    error = refused("--broker", BROKER, "--key", "sk-a-secret-in-the-wrong-place")
    assert str(error) == "no key is named as --key says; configured are one, two"


def test_without_a_broker_it_says_what_to_give(served: Served) -> None:
    error = refused("--key", "one")
    assert "give --broker redis://HOST:6379/0 or set KEYFLEET_BROKER_URL" in str(error)
    assert error.setting == "KEYFLEET_BROKER_URL"


def test_without_keys_it_says_where_they_are_looked_for(served: Served, directory: Path) -> None:
    (directory / "keys.yaml").unlink()
    assert "keyfleet init" in str(refused("--broker", BROKER))


def test_limits_and_address_of_the_command_line_are_those_of_the_keys(served: Served) -> None:
    invoke(
        *("--broker", BROKER, "--key", "one", "--base-url", "http://127.0.0.1:9/v1"),
        *("--requests-per-minute", "90", "--tokens-per-minute", "9000"),
    )
    ((key, _),) = served
    limits = key.limits_for("m")
    assert limits is not None
    assert key.base_url == "http://127.0.0.1:9/v1"
    assert ([item.amount for item in limits.requests], [item.amount for item in limits.tokens]) == ([90], [9000])


def test_an_address_of_a_keys_own_stays(served: Served, directory: Path) -> None:
    (directory / "keys.yaml").write_text(
        "keys:\n  - {name: one, api_key: '${KEY}', base_url: 'http://own.example/v1'}\n"
    )
    invoke("--broker", BROKER, "--base-url", "http://127.0.0.1:9/v1")
    assert served[0][0].base_url == "http://own.example/v1"


class Supervisors:
    """Stands for the supervisor: serves each key in this very process."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.commands: list[list[str]] = []
        self.ends_with_stdin: list[bool] = []

    def __call__(
        self,
        keys: tuple[KeyConfig, ...],
        serve: Callable[[KeyConfig], int],
        spawn_command: Callable[[KeyConfig], list[str]],
        end_with_stdin: bool,
    ) -> Any:
        self.codes = [serve(key) for key in keys]
        self.commands = [spawn_command(key) for key in keys]
        self.ends_with_stdin.append(end_with_stdin)
        return self

    def run(self) -> int:
        return max(self.codes)


@pytest.fixture
def supervisors(monkeypatch: pytest.MonkeyPatch) -> Supervisors:
    found = Supervisors()
    monkeypatch.setattr(worker_module, "Supervisor", found)
    return found


def test_with_all_every_key_is_served_under_one_supervisor(served: Served, supervisors: Supervisors) -> None:
    assert invoke("--all", "--broker", BROKER, "--end-with-stdin").exit_code == 7
    assert [key.name for key, _ in served] == ["one", "two"]
    assert supervisors.ends_with_stdin == [True]


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigurationError("KEY_one is not set"), CONFIGURATION_EXIT), (BrokerUnavailable("no broker answers"), 1)],
)
def test_under_a_supervisor_an_error_is_one_line_and_tells_whether_to_try_again(
    supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def run_worker(*_: Any) -> int:
        raise error

    monkeypatch.setattr(worker_module, "run_worker", run_worker)
    result = invoke("--all", "--broker", BROKER)
    assert supervisors.codes == [code, code]
    assert result.stderr == f"keyfleet worker: {error}\n" * 2


def test_a_worker_that_is_spawned_gets_the_same_options_and_its_key(
    served: Served, supervisors: Supervisors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["keyfleet", "worker", "--all", "--use", "50%"])
    invoke("--all", "--broker", BROKER)
    assert [command[1:] for command in supervisors.commands] == [
        ["-m", "keyfleet", "worker", "--use", "50%", "--key", name, "--end-with-stdin"] for name in ("one", "two")
    ]


class Bound:
    """Stands for the application of a key."""

    def __init__(self, settings: Any, binding: Any, broker_url: str) -> None:
        self.name, self.broker_url = binding.name, broker_url


def test_celerys_own_command_is_told_by_name_what_to_set_or_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "build_app", Bound)
    with pytest.raises(ConfigurationError, match="KEYFLEET_BROKER_URL is not set; set it, or type: keyfleet worker"):
        app_module.build_app_from_environment()
    monkeypatch.setenv("KEYFLEET_BROKER_URL", BROKER)
    with pytest.raises(ConfigurationError, match="set KEYFLEET_KEY to one of one, two, or type: keyfleet worker --key"):
        app_module.build_app_from_environment()
    monkeypatch.setenv("KEYFLEET_KEY", "two")
    monkeypatch.setenv("KEY_two", "sk-a-secret-of-its-own")
    found: Any = app_module.build_app_from_environment()
    assert (found.name, found.broker_url) == ("two", BROKER)
