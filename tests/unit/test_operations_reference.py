"""docs/operations.md says what the code says, where somebody looks for the words that they see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keyfleet.config import UNITS
from keyfleet.config.settings import DEFAULT_LEASE_S, DEFAULT_OUTCOME_TTL_S, DEFAULT_SHUTDOWN_TIMEOUT_S
from keyfleet.running.accepting import FULL_SHARE
from keyfleet.running.window import WINDOW_BYTES, WINDOW_REQUESTS
from keyfleet_workers.dispatch.delivery import RECENT_S
from keyfleet_workers.dispatch.key_health import MODEL_REST_MS
from keyfleet_workers.dispatch.trouble import FAILURES_IN_A_ROW, FIRST_PAUSE_MS, LONGEST_PAUSE_MS
from keyfleet_workers.holds import KeyState
from keyfleet_workers.key_watch import PROBE_FIRST_S, PROBE_LONGEST_S
from keyfleet_workers.limiter.quota import QuotaLimit
from keyfleet_workers.worker_status import STATUS_LIFE_MS

ROOT = Path(__file__).parents[2]
TEXT = " ".join((ROOT / "docs" / "operations.md").read_text(encoding="utf-8").split())
SOURCES = sorted(path for root in ("producer", "workers") for path in (ROOT / root).rglob("*.py"))
LIMITS = [QuotaLimit("", unit, 1, 60_000, 0).describe() for unit in UNITS]
SAID = " ".join([*(path.read_text(encoding="utf-8") for path in SOURCES), *LIMITS])
NUMBERS = {5: "five", 10: "ten"}


def section(title: str) -> str:
    """What stands under a heading."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    return re.split(r"^#+ ", text.partition(f" {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_what_a_job_that_waits_says_is_what_the_code_says() -> None:
    rows = [line.split("|")[1] for line in section("A queue doesn't drain").splitlines() if line.startswith("| `")]
    assert len(rows) > 10
    words = [part.strip() for row in rows for said in re.findall(r"`([^`]+)`", row) for part in said.split("…")]
    assert {part for part in words if part.rstrip(",") not in SAID} == set()


def test_the_states_of_keys_are_those_of_the_code() -> None:
    states = {state.value.replace("_", " ") for state in KeyState}
    named = re.findall(r"`([a-z ]+)`", section("A key is refused").partition("1. ")[0])
    assert named
    assert set(named) - states == set()


@pytest.mark.parametrize(
    "words",
    [
        f"within a lease ({DEFAULT_LEASE_S:g} s)",
        f"`--shutdown-timeout` ({DEFAULT_SHUTDOWN_TIMEOUT_S:g} s)",
        f"`KEYFLEET_OUTCOME_TTL`, {DEFAULT_OUTCOME_TTL_S / 86_400:g} days",
        f"from {FULL_SHARE * 100:g} % of `maxmemory` on",
        f"at most {WINDOW_REQUESTS:,} requests of one model under way, or {WINDOW_BYTES // 2**20} MB",
        f"the answers of the last {RECENT_S:g} s again",
        f"at first every {PROBE_FIRST_S:g} s, later every {NUMBERS[round(PROBE_LONGEST_S / 60)]} minutes",
        f"tried again every {NUMBERS[MODEL_REST_MS // 60_000]} minutes",
        f"no worker has spoken for {STATUS_LIFE_MS / 1000:g} s",
        f"After {NUMBERS[FAILURES_IN_A_ROW]} failures in a row",
        f"a pause of {FIRST_PAUSE_MS / 1000:g} s that doubles up to {LONGEST_PAUSE_MS // 1000} s",
    ],
)
def test_its_figures_are_those_of_the_code(words: str) -> None:
    assert words in TEXT


def test_the_index_leads_to_every_section_for_when_something_is_wrong() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    wrong = text[text.index("## When something is wrong") : text.index("## The gateway")]
    index = section("At 3 a.m.")
    for title in re.findall(r"^### (.*)$", wrong, re.MULTILINE):
        assert f"[{title}](#" in index, title
