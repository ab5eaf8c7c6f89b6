"""The cookbook's own example, 10,000 one-line embeddings at 3,000 requests a minute, with `--pack` and without.

`python -m benchmarks.packing` from the root of the repository. One key; answers take 100 ms. Without sharing calls the
limit lets the last thousand lines start after three minutes, so the whole takes a little longer than that; `--lines
4000` takes one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.call_span import CallSpan
from benchmarks.support.files import BenchmarkKey, write_keys
from benchmarks.support.fleet_run import run_fleet
from benchmarks.support.report import print_figure, print_table
from benchmarks.support.scratch import scratch_directory
from benchmarks.support.shortest_time import KeyCapacity, shortest_start_s
from keyfleet.sim import SimAnswers, SimConfig, SimLatency, SimProcess

MODEL = "text-embedding-3-small"
MINUTE_S = 60.0

SHARE_AIM = 0.1
"""Of the time without `--pack`."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run: from its first call to its last answer (s), its calls, those refused, and the size of its output."""

    span_s: float
    calls: int
    refused: int
    sent_twice: int
    output_bytes: int

    def row(self, name: str, lines: int) -> list[str]:
        """As a row of the table."""
        return [name, f"{self.span_s:.1f} s", f"{self.calls:,}", f"{lines / self.calls:.1f}", str(self.refused)]


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_000, help="of the job (default: 10,000)")
    parser.add_argument("--per-minute", type=int, default=3000, help="requests of the key's limit (default: 3,000)")
    parser.add_argument("--dimensions", type=int, default=1536, help="of each embedding (default: 1,536)")
    parser.add_argument("--latency-ms", type=float, default=100.0, help="of the stand-in (default: 100)")
    return parser.parse_args()


def write_lines(path: Path, lines: int) -> Path:
    """The lines of `examples/data/example_requests_to_parallel_process.jsonl` in the cookbook: numbers, each a text."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"model": MODEL, "input": f"{number}\n"}) + "\n" for number in range(lines))
    return path


def run(given: argparse.Namespace, options: Sequence[str]) -> Figures:
    """The job once, on a stand-in of its own."""
    key = BenchmarkKey("one", (f"{given.per_minute}/minute",))
    config = SimConfig(
        keys=(key.at_the_stand_in(),),
        latency=SimLatency(latency_ms=given.latency_ms),
        answers=SimAnswers(embedding_dimensions=given.dimensions),
        track_inputs=True,
    )
    with scratch_directory() as directory, SimProcess(config) as sim:
        requests = write_lines(directory / "requests.jsonl", given.lines)
        keys = write_keys(directory / "keys.yaml", [key], sim.base_url, model=MODEL)
        with CallSpan(sim) as span:
            run_fleet(directory, requests, keys, options=options)
        stats = sim.stats()
        size = (directory / "results.jsonl").stat().st_size
        return Figures(span.span_s(), stats["requests"], stats["over_limit"], stats["sent_after_success"], size)


def main() -> None:
    """Both runs, one after the other."""
    given = parse_arguments()
    shared = run(given, ["--pack"])
    alone = run(given, [])
    shortest_s = shortest_start_s([KeyCapacity(((given.per_minute, MINUTE_S),))], given.lines)
    print(
        f"{given.lines:,} embeddings of {given.dimensions:,} numbers, a key of {given.per_minute:,} requests a minute"
    )
    rows = [shared.row("with --pack", given.lines), alone.row("without", given.lines)]
    print_table(["", "first call to last answer", "calls", "lines per call", "429s"], rows)
    share = shared.span_s / alone.span_s
    print_figure("time with --pack / without", f"{share:.3f}", f"at most {SHARE_AIM}", met=share <= SHARE_AIM)
    print_figure("without, the limit lets the last line start after", f"{shortest_s:.0f} s")
    clean = not (shared.refused + alone.refused + shared.sent_twice + alone.sent_twice)
    print_figure("429s, and lines sent twice", "0" if clean else "some", "0", met=clean)
    print_figure("size of the outputs, with / without", f"{shared.output_bytes / alone.output_bytes:.4f}")


if __name__ == "__main__":
    main()
