"""deploy/systemd: the units are right and tight, run what is in the code, and end and start again as they should."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from keyfleet.broker_address import has_password
from keyfleet.cli.main import USAGE_EXIT
from keyfleet.cli.service_exits import BROKER_AWAY_EXIT
from keyfleet.config import Environment, Settings, load_keys_file
from keyfleet.config.dotenv_file import read_dotenv
from keyfleet.config.notation import parse_duration_s
from keyfleet.config.settings import DEFAULT_SHUTDOWN_TIMEOUT_S
from keyfleet.gateway import GatewayTerms
from keyfleet.gateway.server import LAST_WORDS_S
from keyfleet_workers.cli.worker import SHUTDOWN_MARGIN_S
from keyfleet_workers.exit_codes import CONFIGURATION_EXIT
from support.deployed_commands import parsed_command, unknown_variables
from support.systemd_unit import SystemdUnit

DIRECTORY = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = [SystemdUnit(path) for path in sorted(DIRECTORY.glob("*.service"))]
BY_PART = {unit.command[1]: unit for unit in UNITS}
README = (DIRECTORY / "README.md").read_text(encoding="utf-8")

PROGRAM = "/opt/keyfleet/bin/keyfleet"

MOST_EXPOSURE = 11
"""What `systemd-analyze security` may find, in tenths: the network, sockets and the host's root are needed."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """The units, with a program that is there."""
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.text.replace(PROGRAM, sys.executable), encoding="utf-8")
    return sorted(tmp_path.iterdir())


def verified(*units: Path) -> subprocess.CompletedProcess[str]:
    """Unknown settings are warnings only, so that what it says counts and not its exit code alone."""
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
    )


@needs_systemd
def test_systemd_has_nothing_to_say_about_them(installed: list[Path]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *installed], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_a_setting_that_systemd_does_not_know_would_be_noticed(installed: list[Path]) -> None:
    unit = installed[0]
    unit.write_text(unit.read_text(encoding="utf-8").replace("LockPersonality", "LockPersonalty"), encoding="utf-8")
    assert "LockPersonalty" in verified(unit).stderr


@needs_systemd
def test_they_are_exposed_no_more_than_they_need(installed: list[Path]) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSURE}", "--no-pager"]
    for unit in installed:
        done = subprocess.run([*command, unit], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_there_is_one_for_each_part_and_all_are_held_alike() -> None:
    assert BY_PART.keys() == {"worker", "flower", "gateway"}
    assert len({unit.hardening for unit in UNITS}) == 1


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_commands_and_variables_are_those_of_the_code(unit: SystemdUnit) -> None:
    assert unit.command[0] == PROGRAM
    parsed_command(unit.command)
    assert unknown_variables(unit.environment) == set()


def test_a_workers_instance_is_its_key() -> None:
    assert parsed_command(BY_PART["worker"].command).params["key_name"] == "research-1"


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_every_secret_that_is_named_is_loaded_and_none_stands_there(unit: SystemdUnit) -> None:
    named = {word for word in [*unit.command, *unit.environment.values()] if word.startswith("/run/credentials/")}
    own_key = {"/run/credentials/research-1"} if unit is BY_PART["worker"] else set()
    assert named | own_key == unit.credentials
    assert "/run/credentials/broker-password" in named
    assert all(
        path.startswith("/etc/keyfleet/secrets/") for path in re.findall(r"LoadCredential=\S+?:(\S+)", unit.text)
    )


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_what_does_not_pass_is_not_started_again_and_a_broker_that_is_away_is(unit: SystemdUnit) -> None:
    assert unit.one("Restart") == "on-failure"
    never = unit.one("RestartPreventExitStatus").split()
    assert {str(CONFIGURATION_EXIT), str(USAGE_EXIT)} <= set(never)
    assert str(BROKER_AWAY_EXIT) not in never
    assert unit.one("StartLimitIntervalSec") == "0", "it is tried for as long as it takes"


@pytest.mark.parametrize("unit", UNITS, ids=repr)
def test_a_stop_is_told_to_the_supervisor_alone(unit: SystemdUnit) -> None:
    assert (unit.one("KillMode"), unit.one("KillSignal")) == ("mixed", "SIGTERM")


def test_calls_that_are_paid_for_have_time_to_end() -> None:
    (minutes,) = re.findall(r"^(\d+)min$", BY_PART["worker"].one("TimeoutStopSec"))
    of_example = parse_duration_s(example()["KEYFLEET_SHUTDOWN_TIMEOUT"])
    assert of_example >= DEFAULT_SHUTDOWN_TIMEOUT_S
    assert int(minutes) * 60 > of_example + SHUTDOWN_MARGIN_S
    assert float(BY_PART["gateway"].one("TimeoutStopSec")) > GatewayTerms().grace_s + 2 * LAST_WORDS_S


def example() -> dict[str, str]:
    """The variables of the example of settings."""
    return dict(read_dotenv(DIRECTORY / "keyfleet.env.example", {}))


def test_the_example_of_settings_is_usable_and_holds_no_secret() -> None:
    assert unknown_variables(example()) == set()
    settings = Settings.from_environment(Environment(example()))
    assert settings.broker_url is not None
    assert not has_password(settings.broker_url)


def test_the_keys_file_of_the_readme_finds_each_key_where_its_unit_loads_it(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "keys.yaml").write_text(text, encoding="utf-8")
    env = Environment({"CREDENTIALS_DIRECTORY": "/run/credentials"})
    for key in load_keys_file(tmp_path / "keys.yaml", env):
        unit = SystemdUnit(DIRECTORY / "keyfleet-worker@.service", key.name)
        assert key.api_key.expand(env) in unit.credentials


def test_the_readme_makes_the_secret_of_each_key_whose_worker_it_enables() -> None:
    install = README[README.index("```sh") : README.index("```yaml")]
    enabled = set(re.findall(r"keyfleet-worker@([\w-]+)", install))
    assert enabled
    assert enabled == set(re.findall(r"/etc/keyfleet/secrets/keys/([\w-]+)", install))


def test_the_readme_installs_a_version_beside_the_one_that_runs_and_links_to_it() -> None:
    (directory,) = re.findall(r"ln -sfn (\S+) /opt/keyfleet$", README, re.MULTILINE)
    assert PROGRAM.startswith("/opt/keyfleet/")
    assert f"python3 -m venv {directory} " in README


def test_the_readme_names_every_file_that_the_units_read() -> None:
    files = {path for unit in UNITS for path in re.findall(r"/etc/keyfleet/[\w./-]+[\w]", unit.text)}
    assert len(files) > 5
    assert {Path(path).name for path in files} - set(re.findall(r"[\w.-]+", README)) == set()
