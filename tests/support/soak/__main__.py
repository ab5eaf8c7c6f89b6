"""The soak by hand: `PYTHONPATH=tests python -m support.soak --requests 20000`. Ends with 1 where a promise is broken.

The table at its end says how often each fault came, how many calls were made, and how many of them twice: only calls
that were in flight on workers that were killed, stopped or cut off may be.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from support.soak.faults import FAULTS
from support.soak.run import SoakOptions, SoakReport, run_soak

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one soak and print its table; returns the exit code."""
    defaults = SoakOptions()
    parser = argparse.ArgumentParser(prog="support.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=defaults.requests)
    parser.add_argument("--workers", type=int, default=defaults.workers)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--every-s", type=float, default=defaults.every_s, help="about how often a fault comes")
    parser.add_argument("--rate", type=int, default=defaults.rate, help="requests a second that all keys allow")
    parser.add_argument("--freeze-s", type=float, default=defaults.freeze_s, help="once, stop the server for so long")
    parser.add_argument("--without", action="append", default=[], choices=sorted({fault.kind for fault in FAULTS}))
    parser.add_argument("--minutes", type=float, default=defaults.longest_s / 60, help="longest time it may take")
    parser.add_argument("--directory", type=Path, help="an empty directory whose files stay")
    given = parser.parse_args(arguments)
    options = SoakOptions(
        requests=given.requests,
        workers=given.workers,
        seed=given.seed,
        every_s=given.every_s,
        longest_s=given.minutes * 60,
        rate=given.rate,
        freeze_s=given.freeze_s,
        without=frozenset(given.without),
    )
    with tempfile.TemporaryDirectory(prefix="kf-soak-", ignore_cleanup_errors=True) as scratch:
        report = run_soak(given.directory or Path(scratch), options, lambda line: print(line, flush=True))
    show(report)
    return 0 if report.failure is None else 1


def show(report: SoakReport) -> None:
    """Print the table."""
    rows = [(name, str(count)) for name, count in sorted(report.faults.items())]
    rows += [
        ("faults in all", str(sum(report.faults.values()))),
        ("requests", str(report.options.requests)),
        ("calls", str(report.stats["requests"])),
        ("sent again after an answer", str(report.stats["sent_after_success"])),
        ("sent again while in flight", str(report.stats["concurrent_duplicates"])),
        ("may be sent again", str(report.may_repeat)),
        ("over a limit", str(report.stats["over_limit"])),
        ("time", f"{report.took_s:.0f} s"),
    ]
    for name, value in rows:
        print(f"{name:28}{value:>10}")
    print("every promise was kept" if report.failure is None else f"BROKEN: {report.failure}")


if __name__ == "__main__":
    sys.exit(main())
