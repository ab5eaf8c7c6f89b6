"""The options of `keyfleet gateway`, and of openai-manager's server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from keyfleet.cli.main import cli
from keyfleet.cli.service_exits import BROKER_AWAY_EXIT
from keyfleet.errors import BrokerUnavailable, ConfigurationError
from keyfleet.fleet import Fleet
from keyfleet.gateway import ApiKeys, GatewayTerms, serving
from keyfleet.gateway.serving import serve_gateway
from keyfleet.openai_manager.serving import serving as serving_command

Served = dict[str, Any]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Served:
    """What a gateway would have been started with; commands are typed in an empty directory."""
    found: Served = {}

    def serve(fleet: Fleet, api_keys: ApiKeys, host: str, port: int, terms: GatewayTerms) -> int:
        found.update(options=fleet._options, keys=api_keys, host=host, port=port, terms=terms)
        return 0

    monkeypatch.setattr(serving, "serve_gateway", serve)
    monkeypatch.chdir(tmp_path)
    return found


def typed(*arguments: str, command: click.Command = cli, **env: str) -> Result:
    result = CliRunner().invoke(command, ["gateway", *arguments] if command is cli else list(arguments), env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_without_options_it_is_for_this_machine_and_brings_its_own_workers(served: Served) -> None:
    assert typed().exit_code == 0
    assert (served["host"], served["port"], len(served["keys"])) == ("127.0.0.1", 8000, 0)
    assert served["terms"] == GatewayTerms()
    assert served["options"].workers is True


def test_a_broker_that_is_not_there_has_an_exit_code_of_its_own(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(*_: Any) -> int:
        raise BrokerUnavailable("no broker answers")

    monkeypatch.setattr(serving, "serve_gateway", serve)
    result = typed("--broker", "redis://127.0.0.1:1/0")
    assert (result.exit_code, result.stderr) == (BROKER_AWAY_EXIT, "keyfleet: no broker answers\n")


def test_every_option_reaches_its_place(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    path.chmod(0o600)
    fleet_part = ["--use", "70%", "--fleet", "f", "--concurrency", "7", "--max-attempts", "2", "--timeout", "9s"]
    own_part = ["--max-wait", "2m", "--max-body", "1MB", "--max-connections", "9", "--grace", "5s"]
    address = ["--host", "0.0.0.0", "--port", "0", "--api-key-file", "keys.txt"]
    assert typed(*fleet_part, *own_part, *address, "--token-encoding", "cl100k_base").exit_code == 0
    assert served["terms"] == GatewayTerms(max_wait_s=120.0, max_body_bytes=1_000_000, max_connections=9, grace_s=5.0)
    options = served["options"]
    assert (options.use, options.fleet, options.concurrency) == (0.7, "f", 7)
    assert (options.max_attempts, options.timeout_s, options.encoding_name) == (2, 9.0, "cl100k_base")
    assert (served["host"], served["port"], len(served["keys"])) == ("0.0.0.0", 0, 2)


def test_every_option_is_a_variable_too_which_may_stand_in_dotenv(served: Served, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEYFLEET_GATEWAY_MAX_WAIT=7s\nKEYFLEET_GATEWAY_API_KEYS=a,b,c\n", encoding="utf-8")
    result = typed(
        KEYFLEET_GATEWAY_HOST="::1",
        KEYFLEET_GATEWAY_PORT="81",
        KEYFLEET_GATEWAY_MAX_BODY="5k",
        KEYFLEET_GATEWAY_MAX_CONNECTIONS="3",
        KEYFLEET_GATEWAY_GRACE="1m",
    )
    assert result.exit_code == 0, result.output
    assert served["terms"] == GatewayTerms(max_wait_s=7.0, max_body_bytes=5000, max_connections=3, grace_s=60.0)
    assert (served["host"], served["port"], len(served["keys"])) == ("::1", 81, 3)


@pytest.mark.parametrize(("arguments", "starts"), [((), False), (("--workers",), True), (("--no-workers",), False)])
def test_on_a_broker_the_workers_that_run_there_are_used(
    served: Served, arguments: tuple[str, ...], starts: bool
) -> None:
    assert typed("--broker", "redis://h:1/0", "--keys", "keys.yaml", *arguments).exit_code == 0
    assert served["options"].workers is starts


@pytest.mark.parametrize(
    "arguments",
    [
        ("--port", "70000"),
        ("--max-wait", "0s"),
        ("--max-wait", "soon"),
        ("--max-body", "many"),
        ("--max-body", "0"),
        ("--max-body", "0.1"),
        ("--max-connections", "0"),
        ("--grace", "-1"),
        ("--api-key", "secret"),
    ],
)
def test_a_wrong_option_is_a_usage_error(served: Served, arguments: tuple[str, str]) -> None:
    result = typed(*arguments)
    assert (result.exit_code, served) == (2, {})
    assert arguments[0] in result.output


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_nobody_elsewhere_gets_in_without_an_api_key(host: str) -> None:
    with pytest.raises(ConfigurationError, match="--api-key-file FILE or KEYFLEET_GATEWAY_API_KEYS"):
        serve_gateway(Fleet(), ApiKeys(), host, 0, GatewayTerms())


def test_openai_managers_server_takes_its_options_and_warns_of_the_key(served: Served) -> None:
    result = typed("--port", "9", "--host", "0.0.0.0", "--api_key", "secret-1", "--reload", command=serving_command)
    assert result.exit_code == 0, result.output
    assert (served["host"], served["port"]) == ("0.0.0.0", 9)
    assert served["keys"].accept(b"secret-1")
    assert result.output.count("every process of this machine can read --api_key") == 1
    assert "secret-1" not in result.output


@pytest.mark.parametrize("key", ["", "caf\u00e9", "a b"])
def test_a_key_that_cant_be_one_is_blamed_on_its_option(served: Served, key: str) -> None:
    result = typed("--api_key", key, command=serving_command)
    assert (result.exit_code, served) == (2, {})
    said = result.output.splitlines()[-1]
    assert said.startswith("serving: --api_key: expected")
    assert "caf" not in said


def test_openai_managers_server_listens_where_openai_managers_does(served: Served) -> None:
    assert typed(command=serving_command).output == ""
    assert (served["host"], served["port"], len(served["keys"])) == ("localhost", 8000, 0)


def test_a_configuration_that_is_wrong_ends_it_with_exit_code_two(served: Served) -> None:
    result = typed("--custom_config", "missing.yml", command=serving_command)
    assert (result.exit_code, served) == (2, {})
    assert result.output.startswith("serving: missing.yml")
