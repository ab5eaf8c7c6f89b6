"""Reads a kustomization as far as ours go, where there may be no kubectl: files, components and generators."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

__all__ = ["EXAMPLE_KEYS", "PROJECT", "Manifest", "Manifests", "built", "example_overlay", "named"]

PROJECT = Path(__file__).parents[2]

EXAMPLE_KEYS = ("research-1", "research-2")
"""The keys that the example's keys.yaml configures."""

Manifest = dict[str, Any]
Manifests = list[Manifest]


def example_overlay(directory: Path) -> Path:
    """A copy of the example overlay in `directory`, with secrets as its user makes them."""
    shutil.copytree(PROJECT / "deploy" / "kubernetes", directory / "deploy" / "kubernetes")
    shutil.copytree(PROJECT / "docs", directory / "docs")
    overlay = directory / "deploy" / "kubernetes" / "example"
    shutil.rmtree(overlay / "secrets", ignore_errors=True)
    script = overlay.parent / "make-secrets.sh"
    subprocess.run([str(script), str(overlay)], check=True, capture_output=True)
    keys = overlay / "secrets" / "keys.env"
    lines = [f"{line}sk-of-{line[:-1]}\n" for line in keys.read_text(encoding="utf-8").splitlines()]
    keys.write_text("".join(lines), encoding="utf-8")
    return overlay


def built(directory: Path) -> Manifests:
    """The documents of the kustomization in `directory`. Names of generated ones get no suffix."""
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text(encoding="utf-8"))
    manifests: Manifests = []
    for name in [*kustomization.get("resources", ()), *kustomization.get("components", ())]:
        path = directory / name
        manifests += built(path) if path.is_dir() else _documents(path)
    for kind in ("ConfigMap", "Secret"):
        for generator in kustomization.get(f"{kind[0].lower()}{kind[1:]}Generator", ()):
            _generate(manifests, kind, generator, directory)
    for manifest in manifests:
        if "namespace" in kustomization and manifest["kind"] != "Namespace":
            manifest["metadata"]["namespace"] = kustomization["namespace"]
    return manifests


def named(manifests: Manifests, kind: str) -> dict[str, Manifest]:
    """Those of a kind, by name."""
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


def _documents(path: Path) -> Manifests:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def _generate(manifests: Manifests, kind: str, generator: dict[str, Any], directory: Path) -> None:
    data = dict(_entries(generator, directory))
    if generator.get("behavior") == "merge":
        named(manifests, kind)[generator["name"]]["data"].update(data)
        return
    part = "data" if kind == "ConfigMap" else "stringData"
    metadata = {"name": generator["name"]}
    manifests.append({"apiVersion": "v1", "kind": kind, "metadata": metadata, part: data})


def _entries(generator: dict[str, Any], directory: Path) -> Iterator[tuple[str, str]]:
    for literal in generator.get("literals", ()):
        name, _, value = literal.partition("=")
        yield name, value
    for file in generator.get("files", ()):
        name, _, path = file.rpartition("=")
        yield name or Path(path).name, (directory / path).read_text(encoding="utf-8")
    for file in generator.get("envs", ()):
        for line in (directory / file).read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            yield name, value
