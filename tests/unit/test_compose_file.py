"""docker-compose.yml: what it names exists, secrets stay files, Redis stays inside, and workers scale."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from keyfleet.config.notation import parse_size_bytes
from keyfleet.config.settings import DEFAULT_SHUTDOWN_TIMEOUT_S
from keyfleet.gateway.terms import GatewayTerms
from keyfleet_workers.cli.worker import SHUTDOWN_MARGIN_S
from support.compose_file import (
    COMPOSE_FILE,
    PROJECT,
    compose_document,
    compose_variables,
    duration_s,
    parse_command,
)

PUBLISHED = PROJECT / "deploy" / "compose.redis-published.yml"
DOCUMENT = compose_document()
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
OURS = sorted(set(SERVICES) - {"redis"})
NAMES_OF = ("secrets", "configs", "networks", "volumes")

SECRET_VARIABLE = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY|AUTH|CREDENTIAL")


def names_used(kind: str) -> set[str]:
    """The secrets, configs, networks or volumes that services ask for."""
    found = set()
    for service in SERVICES.values():
        for entry in service.get(kind, []):
            found.add(entry["source"] if isinstance(entry, dict) else entry.partition(":")[0])
    return found


@pytest.mark.parametrize("path", [COMPOSE_FILE, PUBLISHED], ids=lambda path: path.name)
def test_it_is_what_the_compose_specification_asks_for(path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_docker_itself_takes_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed here")
    command = [docker, "compose", "--file", str(COMPOSE_FILE), "--profile", "demo", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", NAMES_OF)
def test_whatever_services_name_is_defined_and_whatever_is_defined_is_used(kind: str) -> None:
    assert names_used(kind) == set(DOCUMENT[kind])


def test_services_wait_for_services_that_exist_and_say_when_they_are_healthy() -> None:
    for service in SERVICES.values():
        for name, condition in service.get("depends_on", {}).items():
            assert name in SERVICES
            if condition["condition"] == "service_healthy":
                assert "test" in SERVICES[name]["healthcheck"]


def test_every_file_that_it_mounts_or_builds_is_there() -> None:
    files = [entry["file"] for kind in ("secrets", "configs") for entry in DOCUMENT[kind].values()]
    files.append(SERVICES["worker"]["build"]["dockerfile"])
    assert [name for name in files if not (PROJECT / name).is_file()] == []


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_keyfleet_takes(name: str) -> None:
    parse_command(SERVICES[name]["command"])


@pytest.mark.parametrize("name", OURS)
def test_every_setting_in_an_environment_is_one_that_the_code_reads(name: str) -> None:
    sources = [path for root in ("producer", "workers") for path in (PROJECT / root).rglob("*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in sources)
    assert [setting for setting in SERVICES[name].get("environment", {}) if f'"{setting}"' not in code] == []


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_an_environment(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    for setting, value in environment.items():
        if SECRET_VARIABLE.search(setting):
            assert setting.endswith("_FILE"), f"{setting} would hold a secret"
            assert value.startswith("/run/secrets/")
    assert "@" not in environment.get("KEYFLEET_BROKER_URL", "")
    assert "env_file" not in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_whoever_reads_a_secret_has_it_and_nobody_else_does(name: str) -> None:
    service = SERVICES[name]
    text = str([service.get(part) for part in ("command", "environment", "healthcheck")])
    assert set(re.findall(r"/run/secrets/([\w.-]+)", text)) == set(service.get("secrets", []))


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_contained(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)


@pytest.mark.parametrize("name", SERVICES)
def test_memory_file_systems_are_where_an_engine_leaves_them_to_their_user(name: str) -> None:
    assert [mount.partition(":")[0] for mount in SERVICES[name]["tmpfs"]] == ["/tmp"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_alone(name: str) -> None:
    assert [port for port in SERVICES[name].get("ports", []) if not port.startswith("127.0.0.1:")] == []


def test_redis_is_reached_from_inside_alone() -> None:
    redis = SERVICES["redis"]
    assert "ports" not in redis
    assert [DOCUMENT["networks"][name] for name in redis["networks"]] == [{"internal": True}]
    assert redis["user"] == "redis"


def test_redis_may_be_published_to_other_hosts_only_at_an_address_that_was_given() -> None:
    (port,) = re.findall(r'ports: \["(.*)"\]', PUBLISHED.read_text(encoding="utf-8"))
    assert port.startswith("${FLEET_REDIS_ADDRESS:?")


def test_redis_is_never_published_with_the_demos_password() -> None:
    overridden = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))["secrets"]["redis-password"]["file"]
    directory, _, name = overridden.rpartition("/")
    assert directory.startswith("${FLEET_SECRETS:?")
    assert DOCUMENT["secrets"]["redis-password"]["file"].endswith(f"/{name}")


def test_redis_keeps_what_was_accepted() -> None:
    lines = (PROJECT / "deploy" / "redis.conf").read_text(encoding="utf-8").splitlines()
    settings = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["maxmemory-policy"] == "noeviction"
    assert f"> {settings['include']}" in SERVICES["redis"]["command"][-1]
    assert SERVICES["redis"]["volumes"] == [f"redis-data:{settings['dir']}"]


def test_redis_may_take_twice_its_data_while_it_rewrites_its_file() -> None:
    (maxmemory,) = re.findall(r"--maxmemory (\S+)", SERVICES["redis"]["command"][-1])
    limit = SERVICES["redis"]["mem_limit"]
    assert parse_size_bytes(limit + "b") >= 2 * parse_size_bytes(maxmemory)


@pytest.mark.parametrize("name", OURS)
def test_the_image_is_the_one_built_here_and_never_somebody_elses_of_that_name(name: str) -> None:
    assert SERVICES[name]["pull_policy"] == "never"
    assert SERVICES[name]["image"] == SERVICES["worker"]["image"]


def test_one_service_alone_builds_the_image_since_builds_of_one_name_collide() -> None:
    assert [name for name in SERVICES if "build" in SERVICES[name]] == ["worker"]


def test_workers_scale() -> None:
    worker = SERVICES["worker"]
    assert not {"container_name", "hostname", "ports", "deploy", "volumes"} & set(worker)
    assert parse_command(worker["command"])["share"] is True


def test_how_many_workers_there_are_can_be_kept_for_the_next_start() -> None:
    assert SERVICES["worker"]["scale"] == 1
    assert "    scale: ${FLEET_WORKERS:-1}\n" in COMPOSE_FILE.read_text(encoding="utf-8")


def test_a_stop_leaves_calls_under_way_their_time() -> None:
    worker_s, gateway_s = (duration_s(SERVICES[name]["stop_grace_period"]) for name in ("worker", "gateway"))
    assert worker_s > DEFAULT_SHUTDOWN_TIMEOUT_S + SHUTDOWN_MARGIN_S
    assert gateway_s > GatewayTerms().grace_s


@pytest.mark.parametrize("name", ["flower", "gateway", "sim"])
def test_health_checks_ask_at_the_port_that_is_listened_on(name: str) -> None:
    service = SERVICES[name]
    port = parse_command(service["command"])["port"]
    assert f"http://127.0.0.1:{port}/" in service["healthcheck"]["test"][-1]
    assert all(published.endswith(f":{port}") for published in service.get("ports", []))


def test_its_variables_are_told_and_are_no_settings_of_the_program() -> None:
    text = (PROJECT / "deploy" / "README.md").read_text(encoding="utf-8")
    told = {name for cell in re.findall(r"\n\| (`FLEET_.*?) \|", text) for name in re.findall(r"`(\w+)`", cell)}
    assert told == compose_variables() | compose_variables(PUBLISHED)
