"""Requests per second end to end with the limits out of the way, and processor time per request by process.

`python -m benchmarks.throughput` from the root of the repository. The stand-in answers after 20 ms from a process of
its own. Beside it the cookbook's approach over the same file: see `support/one_loop.py`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.support.files import ENDPOINT, BenchmarkKey, RequestShape, write_keys, write_requests
from benchmarks.support.fleet_run import RunFigures, run_fleet, run_watched
from benchmarks.support.process_tree import cpu_seconds, sum_by_role
from benchmarks.support.report import print_figure, print_table
from keyfleet.sim import SimAnswers, SimConfig, SimLatency, SimProcess

ROOT = Path(__file__).parents[1]
PROTOTYPE_PER_S = 2500.0
PROTOTYPE_MS = 0.57
"""What a prototype of the design reached on 2 cores without the stand-in (requests/s, processor ms per request)."""


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=20_000, help="requests (default: 20000)")
    parser.add_argument("--keys", type=int, default=2, help="keys, one worker process each (default: 2)")
    parser.add_argument("--latency-ms", type=float, default=20.0, help="of the stand-in (default: 20)")
    parser.add_argument("--answer-bytes", type=int, default=0, help="filler in every answer (default: 0)")
    parser.add_argument("--only", choices=("keyfleet", "one-loop"), help="run only one of the two")
    return parser.parse_args()


def stand_in(given: argparse.Namespace) -> SimProcess:
    """A stand-in without limits."""
    keys = tuple(key.at_the_stand_in() for key in keys_of(given))
    latency = SimLatency(latency_ms=given.latency_ms)
    answers = SimAnswers(answer_bytes=given.answer_bytes)
    return SimProcess(SimConfig(keys=keys, latency=latency, answers=answers, track_bodies=False))


def keys_of(given: argparse.Namespace) -> list[BenchmarkKey]:
    """Keys that no limit holds back; theirs are set, so that the limiter does its work."""
    limits = ("1000000000/minute",)
    return [BenchmarkKey(f"key-{number}", limits, limits) for number in range(1, given.keys + 1)]


def first_and_last_s(sim: SimProcess, run: Callable[[], RunFigures]) -> tuple[RunFigures, float]:
    """The run's figures, and the stand-in's processor time in it (s)."""
    before_s = cpu_seconds(sim.pid or 0)
    figures = run()
    time.sleep(0.02)  # a processor tick
    return figures, cpu_seconds(sim.pid or 0) - before_s


def print_run(name: str, given: argparse.Namespace, figures: RunFigures, sim_s: float) -> tuple[float, float]:
    """Print one run; returns requests/s and processor ms per request without the stand-in."""
    lines = given.lines
    by_role = sum_by_role(list(figures.tree.processes.values()))
    total_ms = sum(by_role.values()) * 1000 / lines
    print(f"\n{name}: {lines:,} requests, {given.latency_ms:g} ms latency")
    print_figure("time, start and end of the command included", f"{figures.wall_s:.2f} s")
    print_figure("requests per second", f"{lines / figures.wall_s:,.0f}")
    rows = [[role, f"{seconds * 1000 / lines:.3f}"] for role, seconds in sorted(by_role.items())]
    rows += [["sum", f"{total_ms:.3f}"], ["stand-in", f"{sim_s * 1000 / lines:.3f}"]]
    print_table(["process", "processor ms per request"], rows)
    return lines / figures.wall_s, total_ms


def run_keyfleet(given: argparse.Namespace, directory: Path) -> tuple[float, float]:
    """The fleet's figures."""
    with stand_in(given) as sim:
        keys = write_keys(directory / "keys.yaml", keys_of(given), sim.base_url)
        figures, sim_s = first_and_last_s(sim, lambda: run_fleet(directory, directory / "requests.jsonl", keys))
        refused = sim.stats()["over_limit"]
    rate, cpu_ms = print_run("keyfleet run", given, figures, sim_s)
    print_figure("refused by a limit", str(refused), "0", met=refused == 0)
    print_figure("rate beside the prototype's", f"{rate / PROTOTYPE_PER_S:.2f}", "above 0.5", met=rate > 1250)
    print_figure(
        "processor time beside the prototype's",
        f"{cpu_ms / PROTOTYPE_MS:.2f}",
        "below 2",
        met=cpu_ms < 2 * PROTOTYPE_MS,
    )
    return rate, cpu_ms


def run_one_loop(given: argparse.Namespace, directory: Path) -> tuple[float, float]:
    """The cookbook's approach."""
    with stand_in(given) as sim:
        command = [sys.executable, "-m", "benchmarks.support.one_loop", str(directory / "requests.jsonl")]
        command += [str(directory / "one_loop.jsonl"), sim.base_url + ENDPOINT]
        environment = {"OPENAI_API_KEY": keys_of(given)[0].secret, "PYTHONPATH": str(ROOT)}
        figures, sim_s = first_and_last_s(sim, lambda: run_watched(command, environment, cwd=directory))
    return print_run("one asyncio loop with aiohttp", given, figures, sim_s)


def main() -> None:
    """Run both, print the ratio."""
    given = parse_arguments()
    with tempfile.TemporaryDirectory(prefix="keyfleet-benchmark-") as name:
        directory = Path(name)
        write_requests(directory / "requests.jsonl", given.lines, RequestShape())
        fleet = run_keyfleet(given, directory) if given.only != "one-loop" else None
        other = run_one_loop(given, directory) if given.only != "keyfleet" else None
    if fleet and other:
        print()
        print_figure("requests per second, fleet / one loop", f"{fleet[0] / other[0]:.2f}")
        print_figure("processor time per request, fleet / one loop", f"{fleet[1] / other[1]:.2f}")


if __name__ == "__main__":
    main()
