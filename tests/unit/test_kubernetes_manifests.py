"""deploy/kubernetes: the manifests are valid, and what they name is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from keyfleet.config import Environment, load_keys_file
from support.kustomization import EXAMPLE_KEYS, PROJECT, Manifest, Manifests, built, example_overlay, named
from support.pods import Pod, pods_of, selects

OLDEST_KUBERNETES = "1.29"


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with made-up secrets."""
    return example_overlay(tmp_path_factory.mktemp("overlay"))


@pytest.fixture(scope="module")
def manifests(overlay: Path) -> Manifests:
    return built(overlay)


def pods_selected(manifests: Manifests, selector: dict[str, Any]) -> list[Pod]:
    return [pod for pod in pods_of(manifests) if selects(selector, pod)]


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
def test_every_document_is_valid(manifests: Manifests, version: str) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_field_that_kubernetes_does_not_know_would_be_noticed(manifests: Manifests) -> None:
    manifest = {**named(manifests, "Service")["keyfleet-redis"], "speck": {}}
    with pytest.raises(kubernetes_validate.ValidationError, match="speck"):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kubectl_builds_what_is_read_here(overlay: Path, manifests: Manifests) -> None:
    command = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, check=True)
    of_kubectl = list(yaml.safe_load_all(command.stdout))

    def names(found: Manifests) -> list[tuple[str, str, str | None]]:
        parts = ((one["kind"], one["metadata"]["name"], one["metadata"].get("namespace")) for one in found)
        return sorted((kind, re.sub(r"-[a-z0-9]{10}$", "", name), namespace or "") for kind, name, namespace in parts)

    assert names(of_kubectl) == names(manifests)
    referred = re.findall(r"secretName: (\S+)", command.stdout)
    assert set(referred) <= named(of_kubectl, "Secret").keys()
    images = [pod.container["image"] for pod in pods_of(of_kubectl)]
    assert images.count("registry.example/keyfleet:0.1.0") == 3, "the overlay's image is put in everywhere"


def test_nothing_is_named_twice(manifests: Manifests) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(names) == len(set(names))


def test_every_pod_has_a_service_account_of_its_own(manifests: Manifests) -> None:
    accounts = [pod.spec["serviceAccountName"] for pod in pods_of(manifests)]
    assert sorted(accounts) == sorted(named(manifests, "ServiceAccount"))


def test_each_owner_makes_pods_that_it_selects_and_no_other_does(manifests: Manifests) -> None:
    for pod in pods_of(manifests):
        assert [one.name for one in pods_selected(manifests, pod.owner["spec"]["selector"])] == [pod.name]


def test_services_and_disruption_budgets_select_the_pods_that_they_are_named_after(manifests: Manifests) -> None:
    for name, service in named(manifests, "Service").items():
        (pod,) = pods_selected(manifests, {"matchLabels": service["spec"]["selector"]})
        assert pod.name == name
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= pod.ports.keys()
    budgets = named(manifests, "PodDisruptionBudget")
    assert budgets.keys() == {"keyfleet-worker", "keyfleet-gateway"}
    for name, budget in budgets.items():
        assert [pod.name for pod in pods_selected(manifests, budget["spec"]["selector"])] == [name]


def test_probes_ask_at_ports_that_the_pod_has(manifests: Manifests) -> None:
    for pod in pods_of(manifests):
        probes = [
            pod.container[kind] for kind in ("livenessProbe", "readinessProbe", "startupProbe") if kind in pod.container
        ]
        asked = [probe.get("httpGet") or probe.get("tcpSocket") for probe in probes]
        assert {one["port"] for one in asked if one} <= pod.ports.keys()
        assert len(probes) >= 2


def policy_ports(rule: Manifest) -> set[str | int]:
    return {port["port"] for port in rule["ports"]}


def test_network_policies_deny_by_default_and_name_pods_and_ports_that_are_there(manifests: Manifests) -> None:
    policies = named(manifests, "NetworkPolicy")
    assert policies["default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in policies.values():
        pods = pods_selected(manifests, policy["spec"]["podSelector"])
        assert pods
        for rule in policy["spec"].get("ingress", ()):
            assert all(policy_ports(rule) <= pod.ports.keys() for pod in pods)


def test_only_those_who_need_it_reach_the_broker_and_the_providers(manifests: Manifests) -> None:
    policies = named(manifests, "NetworkPolicy")

    def reaching(policy: str) -> set[str]:
        return {pod.name for pod in pods_selected(manifests, policies[policy]["spec"]["podSelector"])}

    assert reaching("broker") == {"keyfleet-worker", "keyfleet-flower", "keyfleet-gateway"}
    assert reaching("providers") == {"keyfleet-worker", "keyfleet-gateway"}
    assert reaching("redis") == {"keyfleet-redis"}
    (rule,) = policies["broker"]["spec"]["egress"]
    (redis_pod,) = pods_selected(manifests, rule["to"][0]["podSelector"])
    assert policy_ports(rule) == set(redis_pod.ports.values())
    (rule,) = policies["redis"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": policies["broker"]["spec"]["podSelector"]}]
    (rule,) = policies["providers"]["spec"]["egress"]
    assert policy_ports(rule) == {443}


def test_the_brokers_address_is_the_redis_service_and_its_users_are_those_of_redis(manifests: Manifests) -> None:
    users = named(manifests, "Secret")["keyfleet-redis"]["stringData"]["users.acl"]
    (port,) = named(manifests, "Service")["keyfleet-redis"]["spec"]["ports"]
    addresses = named(manifests, "ConfigMap")["keyfleet-brokers"]["data"]
    for part, address in addresses.items():
        assert address == f"redis://keyfleet-{part}@keyfleet-redis:{port['port']}/0"
        assert f"\nuser keyfleet-{part} reset on >" in users


def test_the_passwords_that_parts_get_are_those_of_their_users(manifests: Manifests) -> None:
    secrets = {name: secret["stringData"] for name, secret in named(manifests, "Secret").items()}
    users = dict(re.findall(r"^user keyfleet-(\S+) reset on >(\S+)", secrets["keyfleet-redis"]["users.acl"], re.M))
    parts = {"worker": "worker", "flower": "flower", "gateway": "producer"}
    assert {part: secrets[f"keyfleet-{part}"]["broker-password"] for part in parts} == {
        part: users[user] for part, user in parts.items()
    }
    assert len(set(users.values())) == len(users)
    assert "PASSWORD" not in json.dumps(secrets)


def test_the_examples_keys_file_reads_and_its_secrets_are_mounted_where_it_looks(
    overlay: Path, manifests: Manifests
) -> None:
    keys = load_keys_file(overlay / "keys.yaml", Environment({}))
    (worker,) = [pod for pod in pods_of(manifests) if pod.name == "keyfleet-worker"]
    assert tuple(key.name for key in keys) == EXAMPLE_KEYS
    assert {key.api_key.expand(Environment({})) for key in keys} <= worker.files(manifests)


def make_secrets(overlay: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = overlay.parent / "make-secrets.sh"
    return subprocess.run([str(script), str(overlay), *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The example without secrets."""
    overlay = example_overlay(tmp_path)
    shutil.rmtree(overlay / "secrets")
    return overlay


def test_there_is_a_line_for_the_api_key_of_each_key_of_the_overlay(bare: Path) -> None:
    (bare / "keys.yaml").write_text("keys:\n  - name: a-1 # mine\n  - {name: 'b.2', rpm: 5}\n", encoding="utf-8")
    assert make_secrets(bare).returncode == 0
    assert (bare / "secrets" / "keys.env").read_text(encoding="utf-8") == "a-1=\nb.2=\n"


def test_another_fleets_users_reach_that_fleet_alone(bare: Path) -> None:
    assert make_secrets(bare, "night").returncode == 0
    users = (bare / "secrets" / "users.acl").read_text(encoding="utf-8")
    assert "{keyfleet}:night:" in users
    assert "{keyfleet}:main:" not in users


@pytest.mark.parametrize(
    ("name", "text"),
    [("operations.md", None), ("operations.md", "# No users\n"), ("keys.yaml", None), ("keys.yaml", "keys: []\n")],
)
def test_what_lacks_a_source_is_not_made_at_all_and_says_which(bare: Path, name: str, text: str | None) -> None:
    source = bare / name if name == "keys.yaml" else bare.parents[2] / "docs" / name
    source.unlink()
    if text is not None:
        source.write_text(text, encoding="utf-8")
    done = make_secrets(bare)
    assert done.returncode != 0
    assert "made" not in done.stdout
    assert name in done.stderr
    assert not (bare / "secrets").exists()


def test_secrets_are_made_once_and_never_overwritten(overlay: Path) -> None:
    before = (overlay / "secrets" / "users.acl").read_text(encoding="utf-8")
    again = make_secrets(overlay)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert (overlay / "secrets" / "users.acl").read_text(encoding="utf-8") == before
    assert {path.stat().st_mode & 0o077 for path in (overlay / "secrets").glob("*-*")} == {0}


def test_the_readmes_patches_replace_what_is_there(manifests: Manifests) -> None:
    readme = (PROJECT / "deploy" / "kubernetes" / "README.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)]
    patches = [patch for block in blocks for patch in block["patches"]]
    assert len(patches) == 3
    for patch in patches:
        for change in yaml.safe_load(patch["patch"]):
            found: Any = named(manifests, patch["target"]["kind"])[patch["target"]["name"]]
            for step in change["path"].split("/")[1:]:
                found = found[int(step) if isinstance(found, list) else step]
            assert type(found) is type(change["value"])


def test_a_worker_has_the_memory_to_serve_as_many_keys_as_the_readme_says(manifests: Manifests) -> None:
    readme = (PROJECT / "deploy" / "kubernetes" / "README.md").read_text(encoding="utf-8")
    (key_mebibytes,) = re.findall(r"(\d+) MiB for each key", " ".join(readme.split()))
    (keys,) = re.findall(r"more than about (\d+) keys", readme)
    (worker,) = [pod for pod in pods_of(manifests) if pod.name == "keyfleet-worker"]
    assert worker.container["resources"]["limits"]["memory"] == "2Gi"
    assert int(keys) * int(key_mebibytes) <= 2048


def test_names_are_found_through_a_cache_on_the_node_too(manifests: Manifests) -> None:
    (rule,) = named(manifests, "NetworkPolicy")["names"]["spec"]["egress"]
    assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in rule["to"]
