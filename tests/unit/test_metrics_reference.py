"""deploy/prometheus: its tables name every metric with its labels, and its rules hold."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from keyfleet_workers.metrics.families import Families
from keyfleet_workers.metrics.fleet_collector import FleetCollector

if TYPE_CHECKING:
    from support.stand_in import StandIn

DIRECTORY = Path(__file__).parents[2] / "deploy" / "prometheus"
NAME = re.compile(r"\bkeyfleet_[a-z_]+")


def worker_metrics() -> dict[str, tuple[str, ...]]:
    """Names as they are scraped, to their labels."""
    families = [one for one in vars(Families(CollectorRegistry())).values() if isinstance(one, MetricWrapperBase)]
    suffixes = {"counter": "_total"}
    return {one._name + suffixes.get(str(one._type), ""): one._labelnames for one in families}


def fleet_metrics(stand_in: StandIn) -> dict[str, tuple[str, ...]]:
    families = FleetCollector(stand_in.client(), "main", declare_flags=False).collect()
    return {family.name: tuple(getattr(family, "_labelnames")) for family in families}  # noqa: B009 - it has no type


def test_every_metric_is_in_the_tables_with_its_labels(stand_in: StandIn) -> None:
    text = (DIRECTORY / "README.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `keyfleet_")]
    told = {name.strip(" `"): tuple(re.findall(r"`([a-z]+)`", labels)) for name, labels in rows}
    assert told == {**worker_metrics(), **fleet_metrics(stand_in)}


def test_rules_speak_of_metrics_that_there_are(stand_in: StandIn) -> None:
    known = {*worker_metrics(), *fleet_metrics(stand_in)}
    for name in ("alerts.yml", "alerts-test.yml"):
        assert set(NAME.findall((DIRECTORY / name).read_text(encoding="utf-8"))) <= known
    (group,) = yaml.safe_load((DIRECTORY / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    tests = (DIRECTORY / "alerts-test.yml").read_text(encoding="utf-8")
    assert [rule["alert"] for rule in group["rules"] if f"alertname: {rule['alert']}" not in tests] == []


@pytest.mark.parametrize("arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts-test.yml")])
def test_promtool_finds_the_rules_right(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool, of Debian's package prometheus, is not on this machine")
    done = subprocess.run(
        [promtool, *arguments], cwd=DIRECTORY, capture_output=True, check=False, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
