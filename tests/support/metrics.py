"""Prometheus's side of a fleet: asking for pages, and reading what they tell."""

from __future__ import annotations

import shutil
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Samples", "check_metrics", "page"]


def page(url: str) -> tuple[int, str]:
    """Status and text of a page; status 0 while nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return int(answer.status), str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code), error.read().decode()
    except OSError:
        return 0, ""


@dataclass(frozen=True)
class Samples:
    """All samples of one scrape."""

    text: str

    def of(self, name: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Those of a name with these labels, by all of their labels."""
        found: dict[tuple[tuple[str, str], ...], float] = {}
        for family in text_string_to_metric_families(self.text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    series = tuple(sorted(sample.labels.items()))
                    assert series not in found, f"{name} {series} is there twice"
                    found[series] = sample.value
        return found

    def sum(self, name: str, **labels: str) -> float:
        """All of them together."""
        return sum(self.of(name, **labels).values())


def check_metrics(text: str) -> str | None:
    """What promtool says against a scrape, nothing for a good one; None where there is no promtool."""
    promtool = shutil.which("promtool")
    if promtool is None:
        return None
    command = [promtool, "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, check=False, text=True, timeout=30)
    return done.stdout + done.stderr
