"""What a request costs a worker in processor time where metrics are asked for.

A worker counts a call and its end into files that another process reads, and nothing else while it is scraped. This
counts as many requests as it is told, as a worker does, and shows their cost beside that of a whole request.

    python -m benchmarks.metrics_cost
"""

from __future__ import annotations

import argparse
import os
import time

from benchmarks.support.report import print_figure
from benchmarks.support.scratch import scratch_directory
from benchmarks.support.yardstick import PROTOTYPE_CALL_MS, plain_call_ms
from benchmarks.throughput import PROTOTYPE_MS

LEAST_PLAIN_CALLS = PROTOTYPE_MS / PROTOTYPE_CALL_MS
"""What a request of the fleet costs at the least, in plain calls of `requests` on the same machine."""

AIM_SHARE = 0.03
"""Most of a request's processor time that metrics may take."""


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000, help="requests to count (default: 200000)")
    return parser.parse_args()


def cost_ms(requests: int) -> float:
    """Processor time of counting one request (ms)."""
    with scratch_directory() as directory:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        from keyfleet_workers.metrics.opening import meter_in  # looks for the variable

        meter = meter_in(directory, "key-1")
        began_s = time.process_time()
        for _ in range(requests):
            meter.called("gpt-4o-mini", "success", 0.8, 900, 1500)
            meter.ended("gpt-4o-mini", "succeeded", 1, (3.0,))
        return (time.process_time() - began_s) * 1000 / requests


def main() -> None:
    """Measure and print."""
    found_ms = cost_ms(parse_arguments().requests)
    call_ms = plain_call_ms()
    share = found_ms / (call_ms * LEAST_PLAIN_CALLS)
    print_figure("processor time of counting one request", f"{found_ms * 1000:.1f} µs")
    print_figure("one plain call of requests costs here", f"{call_ms:.3f} ms")
    print_figure("share of a request's processor time", f"{share:.1%}", f"below {AIM_SHARE:.0%}", met=share < AIM_SHARE)


if __name__ == "__main__":
    main()
