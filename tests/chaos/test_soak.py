"""A job that goes through one fault after the other, in an order that is always the same."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from support.soak import SoakOptions, run_soak
from support.soak.faults import FAULTS
from support.soak.schedule import APART_S, plan

SHORT = SoakOptions(requests=1500, workers=5, seed=7, every_s=3.0, longest_s=100.0, rate=50)


@pytest.mark.timeout(120)  # longer than the soak itself may take, whose failure tells more
def test_a_job_keeps_its_promises_through_faults_of_every_kind(tmp_path: Path) -> None:
    said: list[str] = []
    report = run_soak(tmp_path, SHORT, said.append)
    assert report.failure is None, "\n".join([report.failure, *said[-5:]])
    assert sum(report.faults.values()) >= 8


def test_a_seed_always_leads_to_the_same_faults() -> None:
    first, again, other = (list(islice(plan(FAULTS, seed, 3.0), 50)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_every_fault_comes_before_any_comes_again_and_none_hides_the_repair_of_another() -> None:
    planned = list(islice(plan(FAULTS, 7, 3.0), 2 * len(FAULTS)))
    assert {one.fault.name for one in planned[: len(FAULTS)]} == {fault.name for fault in FAULTS}
    for number, late in enumerate(planned):
        for early in planned[:number]:
            if early.fault.kind in late.fault.apart_from:
                assert late.at_s >= early.until_s + APART_S
