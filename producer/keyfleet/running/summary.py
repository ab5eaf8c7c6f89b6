"""What a run says at its end."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from keyfleet.running.progress import duration_text
from keyfleet.running.quota_shares import QuotaShares
from keyfleet.running.tally import Tally

__all__ = ["print_summary"]

MOST_REASONS = 10
"""Reasons of failures shown one by one."""


def print_summary(
    console: Console, tally: Tally, shares: QuotaShares, *, elapsed_s: float, output: Path | None
) -> None:
    """Print requests, tokens, time, what each key did, and why requests failed."""
    rate = tally.finished / elapsed_s if elapsed_s else 0.0
    console.print(
        f"{tally.succeeded:,} succeeded, {tally.failed:,} failed, {tally.tokens:,} tokens "
        f"in {duration_text(elapsed_s)} ({rate:,.1f} requests/s)",
        highlight=False,
    )
    names = sorted({*tally.by_key, *shares.key_names()})
    if names:
        console.print(_key_table(names, tally, shares))
    if tally.reasons:
        console.print("Failures by reason:", highlight=False)
        for reason, count in tally.reasons.most_common(MOST_REASONS):
            console.print(f"  {count:,} × {reason}", highlight=False, markup=False)  # noqa: RUF001 - a multiplication
        if len(tally.reasons) > MOST_REASONS:
            console.print(f"  and {len(tally.reasons) - MOST_REASONS} other reasons", highlight=False)
    if output is not None:
        console.print(f"Results: {output}", highlight=False, markup=False, soft_wrap=True)


def _key_table(names: list[str], tally: Tally, shares: QuotaShares) -> Table:
    table = Table("Key", box=None, pad_edge=False)
    for column in ("Requests", "Tokens", "Quota used", "429s"):
        table.add_column(column, justify="right")
    for name in names:
        key = tally.by_key.get(name)
        share = shares.share(name)
        table.add_row(
            name,
            f"{key.requests:,}" if key else "0",
            f"{key.tokens:,}" if key else "0",
            "-" if share is None else f"{share:.0%}",
            str(shares.refused(name)),
        )
    return table
