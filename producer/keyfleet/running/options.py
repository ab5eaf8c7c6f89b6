"""What one run was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["RunOptions"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of `keyfleet run` that are no settings. Names are those of the command line.

    `retry_reasons` restricts `retry_failed` to lines that failed for one of them; none: all of them. `retried_fleet` is
    the fleet of the job that is retried, None: the one that `keyfleet run` would have begun it in. `pack_inputs` is how
    many requests may share a call, None: each is sent alone. `use_local_workers` None: workers are started here where
    the server is the embedded one.
    """

    input_name: str
    output: Path | None = None
    url: str | None = None
    limit_lines: int | None = None
    ordered: bool = False
    overwrite: bool = False
    retry_failed: bool = False
    retry_reasons: tuple[str, ...] = ()
    retried_fleet: str | None = None
    stop_early: bool = True
    pack_inputs: int | None = None
    use_local_workers: bool | None = None
    encoding_name: str | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    keys_path: Path | None = None
