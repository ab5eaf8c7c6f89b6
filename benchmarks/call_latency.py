"""How long an interactive call takes while a job runs on the same keys, beside the same call on an idle fleet.

`python -m benchmarks.call_latency` from the root of the repository. A job of 100,000 lines uses up what two keys'
limits of a minute leave to it; then a program makes calls through the same workers, one after the other, and a few
calls of bulk priority, which wait as the job's lines do. Answers take 200 ms.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.support.files import ENDPOINT, BenchmarkKey, RequestShape, write_keys, write_requests
from benchmarks.support.fleet_run import clean_environment
from benchmarks.support.report import print_figure
from benchmarks.support.scratch import scratch_directory, state_dir_in
from keyfleet import DeadlineExceeded, Fleet
from keyfleet.calls import Priority
from keyfleet.embedded import EmbeddedServer
from keyfleet.sim import SimConfig, SimLatency, SimProcess

LATENCY_MS = 200.0
BULK_WAIT_S = 20.0
"""How long a call of bulk priority is waited for (s)."""

USED_UP = 0.9
"""The job has used up its part of the limits when this share of them is used."""

LOOK_S = 0.2

RATIO_AIM = 1.5


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000, help="of the job (default: 100,000)")
    parser.add_argument("--calls", type=int, default=100, help="calls that are timed in each state (default: 100)")
    parser.add_argument("--per-minute", type=int, default=1200, help="requests of each key's limit (default: 1,200)")
    return parser.parse_args()


@contextmanager
def job_under_way(directory: Path, broker_url: str, requests: Path, has_begun: Callable[[], bool]) -> Iterator[None]:
    """A job, from when it `has_begun` on; it is ended in the midst."""
    command = [sys.executable, "-m", "keyfleet", "run", str(requests), "--broker", broker_url, "--no-workers"]
    command += ["-o", str(directory / "results.jsonl"), "--no-progress"]
    with (directory / "run.txt").open("wb") as report:
        process = subprocess.Popen(
            command, stdout=report, stderr=report, env=clean_environment(_state(directory)), cwd=directory
        )
    try:
        while not has_begun() and process.poll() is None:
            time.sleep(LOOK_S)
        yield
        if process.poll() is not None:
            raise RuntimeError(f"the job ended before the calls: {(directory / 'run.txt').read_text()[-2000:]}")
    finally:
        process.kill()
        process.wait()


def _state(directory: Path) -> dict[str, str]:
    return {"KEYFLEET_STATE_DIR": str(state_dir_in(directory))}


def timed_calls(fleet: Fleet, shape: RequestShape, count: int, priority: Priority = "urgent") -> list[float]:
    """The times of `count` calls in ms, one after the other; one that waits for too long counts with that time."""
    found = []
    for number in range(count):
        began_s = time.monotonic()
        with suppress(DeadlineExceeded):
            fleet.call(ENDPOINT, shape.body(900_000 + number), priority=priority, timeout_s=BULK_WAIT_S)
        found.append((time.monotonic() - began_s) * 1000)
    return found


def print_times(name: str, times_ms: Sequence[float]) -> float:
    """The median, which is returned, and the 95th percentile."""
    median_ms = statistics.median(times_ms)
    late_ms = sorted(times_ms)[int(len(times_ms) * 0.95)]
    print_figure(name, f"median {median_ms:,.0f} ms, 95 % within {late_ms:,.0f} ms")
    return median_ms


def main() -> None:
    """Time calls on an idle fleet, then beside the job."""
    given = parse_arguments()
    shape = RequestShape()
    keys = [BenchmarkKey(name, (f"{given.per_minute}/minute",)) for name in ("one", "two")]
    config = SimConfig(keys=tuple(key.at_the_stand_in() for key in keys), latency=SimLatency(latency_ms=LATENCY_MS))
    with scratch_directory() as directory, SimProcess(config) as sim:
        os.environ.update(_state(directory))
        keys_path = write_keys(directory / "keys.yaml", keys, sim.base_url)
        requests = write_requests(directory / "requests.jsonl", given.lines, shape)
        with EmbeddedServer(state_dir_in(directory)) as server, Fleet(server.url, keys_path) as fleet:
            fleet.call(ENDPOINT, shape.body(1))
            idle_ms = print_times("calls on an idle fleet", timed_calls(fleet, shape, given.calls))
            used_up = USED_UP * len(keys) * given.per_minute
            with job_under_way(directory, server.url, requests, lambda: sim.stats()["requests"] >= used_up):
                busy_ms = print_times("calls beside the job", timed_calls(fleet, shape, given.calls))
                print_times("calls of bulk priority beside it", timed_calls(fleet, shape, 3, "bulk"))
            stats = sim.stats()
    ratio = busy_ms / idle_ms
    print_figure("ratio of the medians", f"{ratio:.2f}", f"at most {RATIO_AIM}", met=ratio <= RATIO_AIM)
    print_figure("429s", str(stats["over_limit"]), "0", met=stats["over_limit"] == 0)


if __name__ == "__main__":
    main()
