"""The pods of Kubernetes manifests, and what they refer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from support.kustomization import Manifests, named

__all__ = ["Pod", "pods_of", "selects"]


@dataclass(frozen=True, slots=True)
class Pod:
    """The one kind of pod that a Deployment or StatefulSet makes. It has one container."""

    owner: dict[str, Any]

    @property
    def name(self) -> str:
        """Its owner's name."""
        return str(self.owner["metadata"]["name"])

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        labels: dict[str, str] = self.owner["spec"]["template"]["metadata"]["labels"]
        return labels

    @property
    def spec(self) -> dict[str, Any]:
        """Its specification."""
        spec: dict[str, Any] = self.owner["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> dict[str, Any]:
        """The specification of its container."""
        (container,) = self.spec["containers"]
        found: dict[str, Any] = container
        return found

    @property
    def is_ours(self) -> bool:
        """Whether it runs Keyfleet's image."""
        return bool(self.container["image"] == "keyfleet")

    @property
    def ports(self) -> dict[str, int]:
        """Its ports by name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    def files(self, manifests: Manifests) -> set[str]:
        """The paths at which files of secrets and config maps are mounted."""
        paths: dict[str, str] = {mount["name"]: mount["mountPath"] for mount in self.container["volumeMounts"]}
        found = set()
        for volume in self.spec["volumes"]:
            if "secret" in volume:
                names = named(manifests, "Secret")[volume["secret"]["secretName"]]["stringData"]
            elif "configMap" in volume:
                names = named(manifests, "ConfigMap")[volume["configMap"]["name"]]["data"]
            else:
                continue
            found |= {f"{paths[volume['name']]}/{name}" for name in names}
        return found

    def environment(self, manifests: Manifests) -> dict[str, str]:
        """Its variables. Raises KeyError for a reference to a config map or an entry that isn't there."""
        maps = named(manifests, "ConfigMap")
        found: dict[str, str] = {}
        for source in self.container.get("envFrom", ()):
            found.update(maps[source["configMapRef"]["name"]]["data"])
        for variable in self.container.get("env", ()):
            if "value" in variable:
                found[variable["name"]] = variable["value"]
            else:
                reference = variable["valueFrom"]["configMapKeyRef"]
                found[variable["name"]] = maps[reference["name"]]["data"][reference["key"]]
        return found


def pods_of(manifests: Manifests) -> list[Pod]:
    """The pods of all Deployments and StatefulSets."""
    return [Pod(manifest) for manifest in manifests if manifest["kind"] in ("Deployment", "StatefulSet")]


def selects(selector: dict[str, Any], pod: Pod) -> bool:
    """Whether a label selector without expressions selects the pod; an empty one selects all."""
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= pod.labels.items()
