"""One program of the official client against real workers, with the newest release and an old one of each major."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from keyfleet.sim import SimConfig
from support import official_program
from support.commands import run_command
from support.fixtures import StartSim
from support.official_releases import NEWEST, RELEASES, cache_directory, release_path
from support.place import Place, sim_key

KEYS = tuple(sim_key(name, "2000/1 second", tokens="1000000/1 second") for name in "ab")
LIMITS = {"requests": ["2000/1 second"], "tokens": ["1000000/1 second"]}
MODELS = dict.fromkeys(("gpt-4o*", "gpt-3.5*", "text-embedding*", "*moderation*"), LIMITS)
TESTS = Path(__file__).parents[2]


def ends_of_program(release: str, cache: Path, place: Place, start_sim: StartSim) -> dict[str, Any]:
    """What the program prints: for each check its error, or None. All processes of its fleet end with it."""
    path = release_path(release, cache)
    sim = start_sim(SimConfig(keys=KEYS))
    place.write_keys(sim, KEYS, models=MODELS)
    place.settings["PYTHONPATH"] = os.pathsep.join([*([str(path)] if path else []), str(TESTS)])
    place.settings["SIM_URL"] = sim.base_url
    place.settings["CALLS_AT_ONCE"] = "1000" if release == NEWEST else "100"
    place.settings["KEYFLEET_SHUTDOWN_TIMEOUT"] = "1s"  # a call that its caller has given up may hang
    done = run_command((), cwd=place.directory, env=place.env, program=("-m", "support.official_program"))
    assert done.code == 0, done.stderr
    place.wait_until_empty()
    found = json.loads(done.stdout)
    assert release in (found["release"], NEWEST)
    return dict(found["ends"])


@pytest.mark.parametrize("release", [*RELEASES, NEWEST])
def test_the_official_client_works_as_it_is(
    release: str, pytestconfig: pytest.Config, place: Place, start_sim: StartSim
) -> None:
    ends = ends_of_program(release, cache_directory(pytestconfig), place, start_sim)
    assert list(ends) == [check.__name__ for check in official_program.CHECKS]
    failed = {name: error for name, error in ends.items() if error}
    assert not failed, "\n".join(f"{name}:\n{error}" for name, error in failed.items())
