"""`keyfleet worker`: which key it serves, what it needs, and errors that name what to do. Nothing is connected to."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from keyfleet.cli.service_exits import BROKER_AWAY_EXIT
from keyfleet.config import Environment, KeyConfig
from keyfleet.errors import BrokerUnavailable, ConfigurationError
from keyfleet_workers import celery_app as app_module
from keyfleet_workers.assignment import Assignment, EveryKey
from keyfleet_workers.cli import worker as worker_module
from keyfleet_workers.cli.worker import worker
from keyfleet_workers.exit_codes import CONFIGURATION_EXIT
from keyfleet_workers.leased_key import LeasedKey
from keyfleet_workers.metrics import NO_METER, Meter
from keyfleet_workers.metrics.exporter import DIRECTORY_VARIABLE, Exporter
from keyfleet_workers.metrics.prometheus_meter import PrometheusMeter
from keyfleet_workers.process import WorkerOptions
from keyfleet_workers.shared_keys import SharedKeys
from keyfleet_workers.supervisor import Supervisor

BROKER = "redis://:s3cret@127.0.0.1:1/0"
KEYS = "keys:\n" + "".join(f"  - {{name: {name}, api_key: '${{KEY_{name}}}'}}\n" for name in ("one", "two"))


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "keys.yaml").write_text(KEYS)
    monkeypatch.setattr(worker_module, "check_server", lambda client, url: None)
    monkeypatch.setattr(worker_module, "configure_logging", lambda level, log_format: None)
    return tmp_path


@dataclass
class Supervised:
    """What supervisors were started with; each lets every key be served once, in this very process."""

    supervisors: list[Supervisor] = field(default_factory=list)
    served: list[tuple[KeyConfig, WorkerOptions]] = field(default_factory=list)

    def run(self, supervisor: Supervisor) -> int:
        self.supervisors.append(supervisor)
        keys = supervisor.assignment.candidates(supervisor.keys)
        return max(supervisor.launcher.serve(key) for key in keys)

    def serve(self, key: KeyConfig, env: Environment, options: WorkerOptions) -> int:
        self.served.append((key, options))
        return 7

    @property
    def assignment(self) -> Assignment:
        (supervisor,) = self.supervisors
        return supervisor.assignment

    @property
    def key(self) -> KeyConfig:
        ((key, _),) = self.served
        return key

    @property
    def options(self) -> WorkerOptions:
        return self.served[0][1]


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> Supervised:
    """Every worker ends with exit code 7."""
    found = Supervised()
    monkeypatch.setattr(Supervisor, "run", lambda supervisor: found.run(supervisor))  # noqa: PLW0108 - a bound method would lose the supervisor
    monkeypatch.setattr(worker_module, "run_worker", found.serve)
    return found


def invoke(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(worker, arguments, env=dict(variables))


def refused(*arguments: str, **variables: str) -> ConfigurationError:
    error = invoke(*arguments, **variables).exception
    assert isinstance(error, ConfigurationError)
    return error


def test_the_key_that_is_named_is_served(supervised: Supervised) -> None:
    result = invoke("--key", "two", "--broker", BROKER, "--use", "50%", "--concurrency", "9", "--fleet", "f")
    assert result.exit_code == 7
    options = supervised.options
    assert (supervised.key.name, options.broker_url) == ("two", BROKER)
    assert (options.settings.use, options.settings.concurrency, options.settings.fleet) == (0.5, 9, "f")
    assert (options.is_supervised, options.ends_when_set_aside) == (True, False)


def test_the_environment_can_name_the_key_and_the_broker(supervised: Supervised) -> None:
    invoke(KEYFLEET_KEY="one", KEYFLEET_BROKER_URL=BROKER)
    assert (supervised.key.name, supervised.options.broker_url) == ("one", BROKER)


def test_without_a_name_a_key_is_leased_of_those_whose_secrets_are_here(supervised: Supervised) -> None:
    invoke("--broker", BROKER, "--workers-per-key", "3", KEY_two="sk-a-secret-of-its-own")
    assignment = supervised.assignment
    assert isinstance(assignment, LeasedKey)
    assert assignment.workers_per_key == 3
    assert [key.name for key, _ in supervised.served] == ["two"]
    assert supervised.options.ends_when_set_aside


def test_a_share_of_those_keys_is_leased_whatever_key_the_environment_names(supervised: Supervised) -> None:
    invoke(
        "--share", "--broker", BROKER, "--workers-per-key", "3", KEY_two="sk-a-secret-of-its-own", KEYFLEET_KEY="one"
    )
    assignment = supervised.assignment
    assert isinstance(assignment, SharedKeys)
    assert assignment.workers_per_key == 3
    assert [key.name for key, _ in supervised.served] == ["two"]
    assert not supervised.options.ends_when_set_aside


@pytest.mark.parametrize("arguments", [("--all", "--share"), ("--key", "one", "--share"), ("--key", "one", "--all")])
def test_ways_to_choose_keys_exclude_each_other(supervised: Supervised, arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments, "--broker", BROKER)
    assert result.exit_code == 2
    assert "--key, --all and --share exclude each other" in result.output


def test_a_worker_that_has_the_secret_of_no_key_says_what_to_set(supervised: Supervised) -> None:
    error = refused("--broker", BROKER)
    assert "KEY_one is not set" in str(error)
    assert not supervised.served


def test_a_name_that_no_key_has_is_not_repeated_but_those_that_are_there(supervised: Supervised) -> None:
    error = refused("--broker", BROKER, "--key", "sk-a-secret-in-the-wrong-place")
    assert str(error) == "no key is named as --key says; configured are one, two"


def test_without_a_broker_it_says_what_to_give(supervised: Supervised) -> None:
    error = refused("--key", "one")
    assert "give --broker redis://HOST:6379/0 or set KEYFLEET_BROKER_URL" in str(error)
    assert error.setting == "KEYFLEET_BROKER_URL"


@pytest.mark.parametrize("arguments", [("--key", "one"), ()])
def test_a_broker_that_is_not_there_ends_a_single_worker(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    def check_server(client: object, url: str) -> None:
        raise BrokerUnavailable("no broker answers")

    monkeypatch.setattr(worker_module, "check_server", check_server)
    result = invoke(*arguments, "--broker", BROKER, KEY_one="sk-a-secret-of-its-own")
    assert (result.exit_code, result.stderr) == (BROKER_AWAY_EXIT, "keyfleet: no broker answers\n")
    assert result.exit_code != CONFIGURATION_EXIT, "a service manager starts it again"
    assert invoke("--all", "--broker", BROKER).exit_code == 7, "the workers of a whole host wait for it"


def test_without_keys_it_says_where_they_are_looked_for(supervised: Supervised, directory: Path) -> None:
    (directory / "keys.yaml").unlink()
    assert "keyfleet init" in str(refused("--broker", BROKER))


def test_limits_and_address_of_the_command_line_are_those_of_the_keys(supervised: Supervised) -> None:
    invoke(
        *("--broker", BROKER, "--key", "one", "--base-url", "http://127.0.0.1:9/v1"),
        *("--requests-per-minute", "90", "--tokens-per-minute", "9000"),
    )
    key = supervised.key
    limits = key.pools_for("m")[-1].limits
    assert limits is not None
    assert key.base_url == "http://127.0.0.1:9/v1"
    assert ([item.amount for item in limits.requests], [item.amount for item in limits.tokens]) == ([90], [9000])


def test_an_address_of_a_keys_own_stays(supervised: Supervised, directory: Path) -> None:
    (directory / "keys.yaml").write_text(
        "keys:\n  - {name: one, api_key: '${KEY}', base_url: 'http://own.example/v1'}\n"
    )
    invoke("--broker", BROKER, "--key", "one", "--base-url", "http://127.0.0.1:9/v1")
    assert supervised.key.base_url == "http://own.example/v1"


def test_with_all_every_key_is_served(supervised: Supervised) -> None:
    assert invoke("--all", "--broker", BROKER, "--end-with-stdin").exit_code == 7
    assert [key.name for key, _ in supervised.served] == ["one", "two"]
    assert supervised.supervisors[0].end_with_stdin
    assert isinstance(supervised.assignment, EveryKey)


def test_the_time_for_calls_under_way_at_the_end_is_the_options(supervised: Supervised) -> None:
    invoke("--all", "--broker", BROKER, "--shutdown-timeout", "2m")
    assert supervised.options.settings.shutdown_timeout_s == 120
    assert supervised.supervisors[0].shutdown_s > 120


def test_keys_of_the_environment_can_not_change(supervised: Supervised, directory: Path) -> None:
    invoke("--all", "--broker", BROKER)
    assert supervised.supervisors[0].watch is not None
    (directory / "keys.yaml").unlink()
    invoke("--all", "--broker", BROKER, OPENAI_API_KEY="sk-a-secret-of-its-own")
    assert supervised.supervisors[1].watch is None


def test_a_keys_file_that_changes_is_read_with_the_same_options(supervised: Supervised, directory: Path) -> None:
    invoke("--all", "--broker", BROKER, "--base-url", "http://127.0.0.1:9/v1")
    (directory / "keys.yaml").write_text("keys:\n  - {name: three, api_key: '${KEY}'}\n")
    watch = supervised.supervisors[0].watch
    assert watch is not None
    source = watch.look(is_forced=True)
    assert source is not None
    assert [(key.name, key.base_url) for key in source.keys] == [("three", "http://127.0.0.1:9/v1")]


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigurationError("KEY_one is not set"), CONFIGURATION_EXIT), (BrokerUnavailable("no broker answers"), 1)],
)
def test_under_a_supervisor_an_error_is_one_line_and_tells_whether_to_try_again(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def run_worker(*_: Any) -> int:
        raise error

    monkeypatch.setattr(worker_module, "run_worker", run_worker)
    result = invoke("--all", "--broker", BROKER)
    assert result.exit_code == code
    assert result.stderr == f"keyfleet worker: {error}\n" * 2


@pytest.mark.parametrize(
    ("mode", "more"), [(["--all"], []), (["--key", "one"], []), ([], ["--ends-when-set-aside"])], ids=str
)
def test_a_worker_that_is_spawned_gets_the_same_options_and_its_key(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch, mode: list[str], more: list[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["keyfleet", "worker", *mode, "--use", "50%"])
    invoke(*mode, "--broker", BROKER, KEY_one="sk-a-secret-of-its-own")
    (supervisor,) = supervised.supervisors
    command = supervisor.launcher.spawn_command(supervised.served[0][0])
    assert command[1:] == ["-m", "keyfleet", "worker", *mode, "--use", "50%", "--key", "one", "--as-child", *more]


def test_a_worker_that_was_spawned_serves_its_key_and_supervises_nothing(supervised: Supervised) -> None:
    arguments = ("--all", "--use", "50%", "--key", "two", "--as-child", "--ends-when-set-aside")
    assert invoke(*arguments, "--broker", BROKER).exit_code == 7
    assert supervised.key.name == "two"
    assert (supervised.options.ends_when_set_aside, supervised.options.settings.use) == (True, 0.5)
    assert not supervised.supervisors


@pytest.fixture
def multiprocess(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set for prometheus_client is taken back."""
    monkeypatch.setenv(DIRECTORY_VARIABLE, "")


def test_with_a_port_metrics_are_served_beside_the_workers(supervised: Supervised, multiprocess: None) -> None:
    result = invoke("--all", "--broker", BROKER, "--metrics-port", "0")
    beside = supervised.supervisors[0].beside
    assert isinstance(beside, Exporter)
    assert supervised.options.metrics_directory == beside.directory
    url = result.stderr.split()[-1]
    port = url.removesuffix("/metrics").rpartition(":")[2]
    assert result.stderr == f"keyfleet worker: metrics at http://127.0.0.1:{port}/metrics\n"
    assert beside.command[-3:] == ["--metrics-port", port, "--as-exporter"]
    assert int(port) > 0
    assert os.environ[DIRECTORY_VARIABLE] == str(beside.directory)
    beside.end()
    assert not beside.directory.exists()


def test_nothing_is_served_without_a_port_nor_by_the_workers_of_one_command(supervised: Supervised) -> None:
    invoke("--all", "--broker", BROKER)
    invoke("--all", "--broker", BROKER, "--end-with-stdin", KEYFLEET_METRICS_PORT="9464")
    assert [supervisor.beside for supervisor in supervised.supervisors] == [None, None]
    assert {options.metrics_directory for _, options in supervised.served} == {None}


def test_a_port_that_is_taken_is_refused_before_any_worker_begins(supervised: Supervised, multiprocess: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = refused("--all", "--broker", BROKER, "--metrics-port", str(taken.getsockname()[1]))
    assert error.setting == "--metrics-port"
    assert not supervised.served


def test_without_a_place_for_files_it_says_what_to_set(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(directory / "not-there"))
    assert "set TMPDIR to a directory" in str(refused("--all", "--broker", BROKER, "--metrics-port", "0"))


def test_a_worker_that_was_spawned_writes_where_its_supervisor_has_prepared(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch, directory: Path
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(directory))
    invoke("--key", "two", "--as-child", "--broker", BROKER, "--metrics-port", "9464")
    assert supervised.options.metrics_directory == directory
    assert not supervised.supervisors


class Bound:
    """Stands for the application of a key."""

    def __init__(self, settings: Any, binding: Any, broker_url: str, *, meter: Meter) -> None:
        self.name, self.broker_url, self.meter = binding.name, broker_url, meter


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
    assert (found.name, found.broker_url, found.meter) == ("two", BROKER, NO_METER)
    monkeypatch.setenv("KEYFLEET_METRICS_PORT", "0")
    metered: Any = app_module.build_app_from_environment()
    assert isinstance(metered.meter, PrometheusMeter)
