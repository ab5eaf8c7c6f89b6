"""Whether memory stays flat: peaks of a small and of a large job, for producer, workers and server.

`python -m benchmarks.flat_memory` from the root of the repository. Limits are out of the way. `--answer-bytes 50000`
does the same with answers of 50 KB; fewer lines will do then (`--small 6000 --large 60000`; the output has as many
times 50 KB). Peaks of processes are the kernel's own (VmHWM). Of the server's `used_memory` the median is what it
needs, and the peak what it needed when the producer was kept from collecting for a moment.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import redis

from benchmarks.support.files import BenchmarkKey, RequestShape, write_keys, write_requests
from benchmarks.support.fleet_run import run_fleet
from benchmarks.support.process_tree import ProcessTree
from benchmarks.support.report import print_figure, print_table
from benchmarks.support.scratch import scratch_directory, state_dir_in
from keyfleet.embedded import EmbeddedServer
from keyfleet.sim import SimAnswers, SimConfig, SimLatency, SimProcess

RATIO_AIM = 1.10
JUDGED = ("producer", "workers together", "Redis, peak")
"""What the aim is for; one worker's share of large answers in flight is chance."""

LATENCY_MS = 20.0


@dataclass(slots=True)
class ServerMemory:
    """Asks the embedded server under `state_dir` for its memory, whenever it is there."""

    state_dir: Path
    peak_kib: float = 0.0
    used_kib: list[float] = field(default_factory=list)
    _client: redis.Redis | None = field(default=None)

    def look(self) -> None:
        """Take what is used now, and the peak so far."""
        path = EmbeddedServer(self.state_dir).socket_path
        with contextlib.suppress(redis.RedisError, OSError):
            if self._client is None and path.exists():
                self._client = redis.Redis(unix_socket_path=str(path))
            if self._client is not None:
                memory = cast("dict[str, int]", self._client.info("memory"))
                self.peak_kib = max(self.peak_kib, memory["used_memory_peak"] / 1024)
                self.used_kib.append(memory["used_memory"] / 1024)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=20_000, help="lines of the small job (default: 20000)")
    parser.add_argument("--large", type=int, default=200_000, help="lines of the large job (default: 200000)")
    parser.add_argument("--keys", type=int, default=2, help="keys, one worker process each (default: 2)")
    parser.add_argument("--answer-bytes", type=int, default=0, help="filler in every answer (default: 0)")
    return parser.parse_args()


def peaks_kib(given: argparse.Namespace, lines: int) -> dict[str, float]:
    """Run one job; the peak of each process and of the server's data, in KiB."""
    keys = [BenchmarkKey(f"key-{number}") for number in range(1, given.keys + 1)]
    config = SimConfig(
        keys=tuple(key.at_the_stand_in() for key in keys),
        latency=SimLatency(latency_ms=LATENCY_MS),
        answers=SimAnswers(answer_bytes=given.answer_bytes),
        track_bodies=False,
    )
    with scratch_directory() as directory, SimProcess(config) as sim:
        requests = write_requests(directory / "requests.jsonl", lines, RequestShape())
        server = ServerMemory(state_dir_in(directory))
        keys_path = write_keys(directory / "keys.yaml", keys, sim.base_url)
        figures = run_fleet(directory, requests, keys_path, also=server.look)
        written = _count_lines(directory / "results.jsonl")
    if written != lines:
        raise RuntimeError(f"{written} results for {lines} lines")
    peaks = _peaks_of(figures.tree)
    return {**peaks, "Redis, median": statistics.median(server.used_kib), "Redis, peak": server.peak_kib}


def _peaks_of(tree: ProcessTree) -> dict[str, float]:
    peaks: dict[str, float] = {"producer": tree.processes[tree.root_pid].peak_rss_kib}
    workers = tree.by_role("worker")
    peaks.update({f"worker {number}": float(one.peak_rss_kib) for number, one in enumerate(workers, 1)})
    peaks["workers together"] = float(sum(one.peak_rss_kib for one in workers))
    return peaks


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def main() -> None:
    """Run the small and the large job, print the ratios."""
    given = parse_arguments()
    small, large = peaks_kib(given, given.small), peaks_kib(given, given.large)
    rows = []
    for name, before in small.items():
        after = large.get(name, 0.0)
        rows.append([name, f"{before / 1024:.1f}", f"{after / 1024:.1f}", f"{after / before:.3f}"])
    head = [
        "peak of each process; the server's used_memory",
        f"MiB at {given.small:,} lines",
        f"MiB at {given.large:,} lines",
        "ratio",
    ]
    print_table(head, rows)
    worst = max(large[name] / small[name] for name in JUDGED)
    print_figure(
        "largest ratio of producer, workers, Redis' peak",
        f"{worst:.3f}",
        f"at most {RATIO_AIM}",
        met=worst <= RATIO_AIM,
    )


if __name__ == "__main__":
    main()
