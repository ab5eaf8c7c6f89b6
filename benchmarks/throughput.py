"""Requests per second end to end with the limits out of the way, and processor time per request by process.

`python -m benchmarks.throughput` from the root of the repository. The stand-in answers after 20 ms from a process of
its own. Beside it the cookbook's approach over the same file: see `support/one_loop.py`. Start-up is measured by a run
of a few lines and taken off, so that figures don't depend on the number of lines.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.call_span import CallSpan
from benchmarks.support.files import ENDPOINT, BenchmarkKey, RequestShape, write_keys, write_requests
from benchmarks.support.fleet_run import RunFigures, run_fleet, run_watched
from benchmarks.support.process_tree import cpu_seconds, sum_by_role
from benchmarks.support.report import print_figure, print_table
from benchmarks.support.scratch import scratch_directory
from benchmarks.support.yardstick import PROTOTYPE_CALL_MS, plain_call_ms
from keyfleet.sim import SimAnswers, SimConfig, SimLatency, SimProcess

ROOT = Path(__file__).parents[1]
PROTOTYPE_PER_S = 2500.0
PROTOTYPE_MS = 0.57
"""What a prototype of the design reached on 2 cores without the stand-in (requests/s, processor ms per request)."""

START_UP_LINES = 100
"""Lines of the run that measures start-up; their own work is small beside it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: calls from the first to the last (s), processor time by process (s), the stand-in's, refusals."""

    lines: int
    wall_s: float
    span_s: float
    cpu_s: dict[str, float]
    sim_cpu_s: float
    refused: int
    plain_call_ms: float


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=20_000, help="requests (default: 20000)")
    parser.add_argument("--keys", type=int, default=2, help="keys, one worker process each (default: 2)")
    parser.add_argument("--latency-ms", type=float, default=20.0, help="of the stand-in (default: 20)")
    parser.add_argument("--answer-bytes", type=int, default=0, help="filler in every answer (default: 0)")
    parser.add_argument("--only", choices=("keyfleet", "one-loop"), help="run only one of the two")
    return parser.parse_args()


def keys_of(given: argparse.Namespace) -> list[BenchmarkKey]:
    """Keys that no limit holds back; theirs are set, so that the limiter does its work."""
    limits = ("1000000000/minute",)
    return [BenchmarkKey(f"key-{number}", limits, limits) for number in range(1, given.keys + 1)]


def measure(given: argparse.Namespace, directory: Path, lines: int, approach: str) -> Measured:
    """Run one approach over the first `lines` lines, against a stand-in without limits."""
    keys = keys_of(given)
    config = SimConfig(
        keys=tuple(BenchmarkKey(key.name).at_the_stand_in() for key in keys),
        latency=SimLatency(latency_ms=given.latency_ms),
        answers=SimAnswers(answer_bytes=given.answer_bytes),
        track_bodies=False,
    )
    with SimProcess(config) as sim:
        sim_before_s = cpu_seconds(sim.pid or 0)
        with CallSpan(sim) as span:
            requests = write_requests(directory / "requests.jsonl", lines, RequestShape())
            figures = run_approach(approach, directory, requests, keys, sim.base_url)
        time.sleep(0.02)  # a processor tick
        return Measured(
            lines,
            figures.wall_s,
            span.span_s(),
            sum_by_role(list(figures.tree.processes.values())),
            cpu_seconds(sim.pid or 0) - sim_before_s,
            sim.stats()["over_limit"],
            plain_call_ms(),
        )


def run_approach(approach: str, directory: Path, requests: Path, keys: list[BenchmarkKey], base_url: str) -> RunFigures:
    """`keyfleet run`, or the one loop."""
    if approach == "keyfleet":
        return run_fleet(directory, requests, write_keys(directory / "keys.yaml", keys, base_url))
    command = [sys.executable, "-m", "benchmarks.support.one_loop", str(requests)]
    command += [str(directory / "one_loop.jsonl"), base_url + ENDPOINT]
    environment = {"OPENAI_API_KEY": keys[0].secret, "PYTHONPATH": str(ROOT)}
    return run_watched(command, environment, cwd=directory)


def print_run(name: str, run: Measured, start_up: Measured) -> float:
    """Print one run; returns its processor ms per request without start-up and stand-in."""
    more = run.lines - start_up.lines
    per_request = {
        role: max(0.0, seconds - start_up.cpu_s.get(role, 0.0)) * 1000 / more for role, seconds in run.cpu_s.items()
    }
    total_ms = sum(per_request.values())
    print(f"\n{name}: {run.lines:,} requests")
    print_figure("time of the whole command", f"{run.wall_s:.2f} s")
    print_figure("from the first call to the last answer", f"{run.span_s:.2f} s")
    print_figure("requests per second, first call to last answer", f"{run.lines / run.span_s:,.0f}")
    print_figure("processor time of start-up", f"{sum(start_up.cpu_s.values()):.2f} s")
    rows = [[role, f"{cost_ms:.3f}"] for role, cost_ms in sorted(per_request.items())]
    rows += [["sum", f"{total_ms:.3f}"], ["stand-in", f"{run.sim_cpu_s * 1000 / run.lines:.3f}"]]
    print_table(["process", "processor ms per request, without start-up"], rows)
    print_figure("one plain call of requests costs here", f"{run.plain_call_ms:.3f} ms")
    print_figure("processor time in plain calls", f"{total_ms / run.plain_call_ms:.2f}")
    return total_ms


def print_beside_prototype(run: Measured, total_ms: float) -> None:
    """The fleet beside the prototype: a first version under half of it has a mistake worth finding."""
    rate = run.lines / run.span_s / PROTOTYPE_PER_S
    plain = total_ms / run.plain_call_ms / (PROTOTYPE_MS / PROTOTYPE_CALL_MS)
    print_figure("refused by a limit", str(run.refused), "0", met=run.refused == 0)
    print_figure("rate beside the prototype's", f"{rate:.2f}", "above 0.5, on an idle machine", met=rate > 0.5)
    print_figure("processor time beside the prototype's", f"{total_ms / PROTOTYPE_MS:.2f}")
    print_figure("the same in plain calls", f"{plain:.2f}", "below 2", met=plain < 2)


def main() -> None:
    """Run both, print the ratio."""
    given = parse_arguments()
    found: dict[str, tuple[Measured, float]] = {}
    with scratch_directory() as directory:
        for approach, title in (("keyfleet", "keyfleet run"), ("one-loop", "one asyncio loop with aiohttp")):
            if given.only in (None, approach):
                start_up = measure(given, directory, START_UP_LINES, approach)
                run = measure(given, directory, given.lines, approach)
                found[approach] = (run, print_run(title, run, start_up))
    if "keyfleet" in found:
        print_beside_prototype(*found["keyfleet"])
    if len(found) == 2:
        fleet, other = found["keyfleet"], found["one-loop"]
        print_figure("requests per second, fleet / one loop", f"{other[0].span_s / fleet[0].span_s:.2f}")
        print_figure("processor time per request, fleet / one loop", f"{fleet[1] / other[1]:.2f}")


if __name__ == "__main__":
    main()
