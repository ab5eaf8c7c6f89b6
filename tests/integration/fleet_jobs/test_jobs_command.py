"""`keyfleet jobs` and the jobs of programs."""

from __future__ import annotations

import json

from keyfleet.sim import SimConfig
from support.fixtures import StartSim
from support.fleets import MakeFleet, chat
from support.place import Place, sim_key


def test_a_programs_job_is_listed_with_why_requests_failed_and_retried_by_command(
    make_fleet: MakeFleet, place: Place, start_sim: StartSim
) -> None:
    key = sim_key("a")
    sim = start_sim(SimConfig(keys=(key,)))
    place.write_keys(sim, (key,))
    bodies = [chat("fine"), chat("[[sim:500x1]]"), chat("[[sim:400]]")]
    with make_fleet(max_attempts=1) as fleet:
        job = fleet.submit(bodies, name="nightly")
        assert job.wait(timeout_s=60).failed == 2
    (listed,) = (one for one in json.loads(place.run("jobs", "--json").stdout) if one["format"] == "fleet")
    assert (listed["id"], listed["name"], listed["state"]) == (job.id, "nightly", "done")
    assert (listed["succeeded"], listed["failed"], listed["output"]) == (1, 2, str(job.results_path))
    reasons = {group["reason"] for group in json.loads(place.run("jobs", "failed", job.id, "--json").stdout)}
    assert len(reasons) == 2
    retried = place.run("jobs", "retry", job.id[:8])
    assert retried.code == 1, retried.stderr  # one fails again
    (listed,) = (one for one in json.loads(place.run("jobs", "--json").stdout) if one["format"] == "fleet")
    assert (listed["id"], listed["succeeded"], listed["failed"]) == (job.id, 2, 1)
    with make_fleet() as fleet:
        found = fleet.job("nightly")
        assert (found.counts.succeeded, found.counts.failed) == (2, 1)
        assert {result.index for result in found if not result.ok} == {2}
