"""deploy/kubernetes: what runs in the pods is in the code, is held tight, and has the time that it needs to end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keyfleet.config import Environment, Settings
from keyfleet.config.notation import parse_duration_s
from keyfleet.config.settings import DEFAULT_SHUTDOWN_TIMEOUT_S
from keyfleet.gateway import GatewayTerms
from keyfleet.gateway.server import LAST_WORDS_S
from keyfleet_workers.cli.worker import SHUTDOWN_MARGIN_S
from support.deployed_commands import parsed_command, unknown_variables
from support.kustomization import Manifests, built, example_overlay, named
from support.pods import Pod, pods_of

SECRET_FILE = re.compile(r"/run/secrets/[^\s=]+")

MEBIBYTES = {"Mi": 1, "Gi": 1024}


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    return built(example_overlay(tmp_path_factory.mktemp("overlay")))


@pytest.fixture(scope="module")
def pods(manifests: Manifests) -> dict[str, Pod]:
    return {pod.name.removeprefix("keyfleet-"): pod for pod in pods_of(manifests)}


OURS = ("worker", "flower", "gateway")


def test_all_parts_are_there(pods: dict[str, Pod]) -> None:
    assert pods.keys() == {*OURS, "redis"}
    assert {name for name, pod in pods.items() if pod.is_ours} == set(OURS)


@pytest.mark.parametrize("part", OURS)
def test_commands_and_variables_are_those_of_the_code(manifests: Manifests, pods: dict[str, Pod], part: str) -> None:
    context = parsed_command(pods[part].container["command"])
    assert context.info_name == part
    environment = pods[part].environment(manifests)
    assert unknown_variables(environment) == set()
    del environment["KEYFLEET_BROKER_PASSWORD_FILE"]  # it names a file of the pod
    settings = Settings.from_environment(Environment(environment))
    assert settings.broker_url is not None
    (port,) = pods[part].ports.values()
    assert port in (context.params.get("port"), context.params.get("metrics_port"))
    assert "0.0.0.0" in context.params.values()


def test_workers_share_the_keys_out(pods: dict[str, Pod]) -> None:
    assert parsed_command(pods["worker"].container["command"]).params["share"]


@pytest.mark.parametrize("part", OURS)
def test_secrets_are_files_and_stand_in_no_environment_and_no_command(
    manifests: Manifests, pods: dict[str, Pod], part: str
) -> None:
    pod = pods[part]
    named_files = SECRET_FILE.findall(" ".join([*pod.environment(manifests).values(), *pod.container["command"]]))
    assert len(named_files) == 2
    assert set(named_files) <= pod.files(manifests)
    assert all("secretRef" not in source for source in pod.container["envFrom"])
    visible = str(pod.environment(manifests)) + str(pod.container["command"])
    secrets = [text for secret in named(manifests, "Secret").values() for text in secret["stringData"].values()]
    assert not any(secret.strip() in visible for secret in secrets)


def test_every_pod_keeps_to_the_restricted_standard(manifests: Manifests, pods: dict[str, Pod]) -> None:
    labels = named(manifests, "Namespace")["keyfleet"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods.values():
        of_pod, of_container = pod.spec["securityContext"], pod.container["securityContext"]
        assert of_pod["runAsNonRoot"]
        assert of_pod["runAsUser"] > 0
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert of_container == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not pod.spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
        assert all(volume.keys() & {"emptyDir", "secret", "configMap"} for volume in pod.spec["volumes"])


def test_no_pod_gets_a_token_or_variables_of_services(manifests: Manifests, pods: dict[str, Pod]) -> None:
    for account in named(manifests, "ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False
    for pod in pods.values():
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["enableServiceLinks"] is False, "KEYFLEET_GATEWAY_PORT=tcp://… would be read as a setting"


def test_every_pod_says_what_it_needs(pods: dict[str, Pod]) -> None:
    for pod in pods.values():
        resources = pod.container["resources"]
        assert resources["requests"].keys() == {"cpu", "memory"}
        assert "memory" in resources["limits"]


def test_workers_have_time_for_the_calls_that_are_paid_for(manifests: Manifests, pods: dict[str, Pod]) -> None:
    environment = pods["worker"].environment(manifests)
    shutdown_s = parse_duration_s(environment["KEYFLEET_SHUTDOWN_TIMEOUT"])
    grace_s = pods["worker"].spec["terminationGracePeriodSeconds"]
    assert shutdown_s >= DEFAULT_SHUTDOWN_TIMEOUT_S
    assert grace_s > shutdown_s + SHUTDOWN_MARGIN_S


def test_gateways_have_time_for_their_callers(pods: dict[str, Pod]) -> None:
    pod = pods["gateway"]
    grace_s = parsed_command(pod.container["command"]).params["grace_s"]
    assert grace_s == GatewayTerms().grace_s
    pause_s = float(pod.container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod.spec["terminationGracePeriodSeconds"] > pause_s + grace_s + 2 * LAST_WORDS_S


def test_an_update_starts_a_gateway_before_it_stops_one(pods: dict[str, Pod]) -> None:
    strategy = pods["gateway"].owner["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_an_update_stops_one_worker_at_a_time_and_never_waits_for_a_key_that_an_old_one_has(
    pods: dict[str, Pod],
) -> None:
    strategy = pods["worker"].owner["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    assert pods["worker"].owner["spec"]["replicas"] > 1


def settings_of_redis(manifests: Manifests) -> dict[str, str]:
    text = named(manifests, "ConfigMap")["keyfleet-redis"]["data"]["redis.conf"]
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: value for name, value in lines}  # noqa: C416 - mypy wants pairs


def documented_settings_of_redis() -> dict[str, str]:
    """Those of docs/operations.md that have one value; a row may hold several."""
    operations = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    section = operations[operations.index("## What Redis needs") :]
    rows = re.findall(r"^\| (`[a-z].*?) \| (`.*?) \|", section[: section.index("\n## ")], re.MULTILINE)
    pairs = [zip(re.findall(r"`(.*?)`", names), re.findall(r"`(.*?)`", values), strict=False) for names, values in rows]
    return {name: value for pair in pairs for name, value in pair}


def test_redis_is_set_up_as_the_documentation_says(manifests: Manifests, pods: dict[str, Pod]) -> None:
    settings = settings_of_redis(manifests)
    documented = documented_settings_of_redis()
    assert documented.keys() >= {"appendonly", "appendfsync", "maxmemory-policy", "timeout", "tcp-keepalive"}
    assert documented.items() <= settings.items()
    assert {settings["aclfile"]} <= pods["redis"].files(manifests)
    assert pods["redis"].container["command"][1] in pods["redis"].files(manifests)


def test_redis_has_room_to_rewrite_its_file(manifests: Manifests, pods: dict[str, Pod]) -> None:
    limit = pods["redis"].container["resources"]["limits"]["memory"]
    limit_bytes = int(limit[:-2]) * MEBIBYTES[limit[-2:]] * 2**20
    (gigabytes,) = re.findall(r"^(\d+)gb$", settings_of_redis(manifests)["maxmemory"])
    assert limit_bytes > 2 * int(gigabytes) * 2**30


def test_redis_keeps_its_data_on_a_volume_of_its_own(pods: dict[str, Pod]) -> None:
    (claim,) = pods["redis"].owner["spec"]["volumeClaimTemplates"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pods["redis"].container["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == "/data"
