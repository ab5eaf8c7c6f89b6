"""How much of the keys' limits a job uses: its time beside the shortest that the limits allow, and its 429s.

`python -m benchmarks.quota_use` from the root of the repository. Ten keys of different limits, five bound by requests
and five by tokens, share one queue of one model. The stand-in enforces exact sliding windows, charges each request
exactly what the fleet reserves for it, and answers after 100 ms with 50 ms of jitter.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.support.call_span import CallSpan
from benchmarks.support.files import BenchmarkKey, RequestShape, write_keys, write_requests
from benchmarks.support.fleet_run import run_fleet
from benchmarks.support.report import print_figure, print_table
from benchmarks.support.scratch import scratch_directory
from benchmarks.support.shortest_time import KeyCapacity, most_started, shortest_start_s
from keyfleet.sim import SimAnswers, SimConfig, SimLatency, SimProcess

BASE_WINDOW_S = 10
REQUESTS_BOUND = (20, 40, 60, 100, 150)
"""Requests per 10 s of the keys that requests bind; their tokens would last for twice as many."""

TOKENS_BOUND = (10, 30, 50, 80, 120)
"""Requests that the tokens per 10 s of the other keys last for, and a little over; they may start twice as many."""

LEFT_OVER_TOKENS = 7
"""Tokens of a window that are too few for one more request."""

RATIO_AIM = 1.03


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--window-s", type=int, default=BASE_WINDOW_S, help="windows; a real one is 60 (default: 10)")
    parser.add_argument("--windows", type=int, default=6, help="windows that the job takes at least (default: 6)")
    parser.add_argument(
        "--fill",
        type=float,
        default=0.5,
        help="share of the last window's requests that the job has; at 1 a single lost grant costs a whole window, "
        "as it would for any scheduler (default: 0.5)",
    )
    parser.add_argument("--latency-ms", type=float, default=100.0, help="of the stand-in (default: 100)")
    parser.add_argument("--jitter-ms", type=float, default=50.0, help="of the latency, both ways (default: 50)")
    parser.add_argument(
        "--admission-jitter-ms", type=float, default=0.0, help="delay before a request is admitted (default: 0)"
    )
    return parser.parse_args()


def make_keys(window_s: int, cost_tokens: int) -> list[BenchmarkKey]:
    """The ten keys, with the same rates whatever the window."""
    scale = window_s / BASE_WINDOW_S

    def limit(amount: int) -> tuple[str]:
        return (f"{amount}/{window_s} second",)

    keys = []
    for base in REQUESTS_BOUND:
        amount = round(base * scale)
        keys.append(BenchmarkKey(f"requests-{base}", limit(amount), limit(2 * amount * cost_tokens)))
    for base in TOKENS_BOUND:
        amount = round(base * scale)
        keys.append(BenchmarkKey(f"tokens-{base}", limit(2 * amount), limit(amount * cost_tokens + LEFT_OVER_TOKENS)))
    return keys


def capacity_of(key: BenchmarkKey, cost_tokens: int) -> KeyCapacity:
    """What the key's limits let start."""
    return KeyCapacity.of(_amounts(key.requests), _amounts(key.tokens), cost_tokens)


def _amounts(notations: Sequence[str]) -> list[tuple[int, float]]:
    found = [re.fullmatch(r"(\d+)/(\d+) second", notation) for notation in notations]
    return [(int(match[1]), float(match[2])) for match in found if match]


def lines_for(capacities: Sequence[KeyCapacity], given: argparse.Namespace) -> int:
    """A job whose last requests can start at the end of `--windows` windows."""
    end_s = float(given.windows * given.window_s)
    before = most_started(capacities, end_s - given.window_s)
    in_the_last = most_started(capacities, end_s) - before
    return before + max(1, round(in_the_last * float(given.fill)))


def print_keys(capacities: Mapping[str, KeyCapacity], stats: Mapping[str, Any], start_s: float) -> None:
    """What each key was sent, beside what its limits had allowed by the shortest time."""
    rows = []
    for name, capacity in capacities.items():
        seen = stats["keys"].get(name, {"admitted": 0, "over_limit": 0, "in_flight_peak": 0})
        allowed = capacity.started_by(start_s)
        share = f"{seen['admitted'] / allowed:.1%}"
        rows.append([name, str(allowed), str(seen["admitted"]), share, str(seen["over_limit"])])
    print_table(["key", "allowed", "sent", "share", "429s"], rows)


def print_ratio(given: argparse.Namespace, start_s: float, span_s: float) -> None:
    """The ratio, and what of the difference is known: guards, and slots that keep a grant a little longer."""
    shortest_s = start_s + given.latency_ms / 1000
    ratio = span_s / shortest_s
    guard_s = max(0.1, 0.0025 * given.window_s)
    windows = round(start_s / given.window_s)
    print_figure("shortest time that the limits allow", f"{shortest_s:.2f} s")
    print_figure("from the first call to the last answer", f"{span_s:.2f} s")
    print_figure("ratio", f"{ratio:.4f}", f"at most {RATIO_AIM}", met=ratio <= RATIO_AIM)
    print_figure(f"more time: guards, {windows} x {guard_s * 1000:.0f} ms", f"{windows * guard_s:.2f} s")
    print_figure("  slots, at most", f"{windows * given.window_s / 256:.2f} s")
    print_figure("  jitter of the last answers, at most", f"{given.jitter_ms / 1000:.2f} s")
    print_figure("  all of it", f"{span_s - shortest_s:.2f} s")


def main() -> None:
    """Run the job once."""
    given = parse_arguments()
    shape = RequestShape()
    cost_tokens = shape.cost_tokens()
    keys = make_keys(given.window_s, cost_tokens)
    capacities = {key.name: capacity_of(key, cost_tokens) for key in keys}
    lines = lines_for(list(capacities.values()), given)
    start_s = shortest_start_s(list(capacities.values()), lines)
    config = SimConfig(
        keys=tuple(key.at_the_stand_in() for key in keys),
        latency=SimLatency(
            latency_ms=given.latency_ms, jitter_ms=given.jitter_ms, admission_jitter_ms=given.admission_jitter_ms
        ),
        answers=SimAnswers(bytes_per_token=shape.bytes_per_token(cost_tokens)),
    )
    with scratch_directory() as directory, SimProcess(config) as sim:
        requests = write_requests(directory / "requests.jsonl", lines, shape)
        with CallSpan(sim) as span:
            run_fleet(directory, requests, write_keys(directory / "keys.yaml", keys, sim.base_url))
        stats, span_s = sim.stats(), span.span_s()
    print(f"{lines:,} requests of {cost_tokens} tokens, 10 keys, windows of {given.window_s} s")
    charged = sum(key["tokens_charged"] for key in stats["keys"].values())
    print_figure("429s", str(stats["over_limit"]), "0", met=stats["over_limit"] == 0)
    print_figure("sent twice", str(stats["sent_after_success"]), "0", met=stats["sent_after_success"] == 0)
    print_figure("charged by the stand-in / reserved", f"{charged / (lines * cost_tokens):.4f}")
    print_ratio(given, start_s, span_s)
    print_keys(capacities, stats, start_s)


if __name__ == "__main__":
    main()
