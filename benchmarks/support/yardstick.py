"""Yardsticks for a machine that others use too: what a plain call of `requests`, and a synced write, cost on it now."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter

from benchmarks.support.files import ENDPOINT, RequestShape
from keyfleet.sim import SimConfig, SimProcess

__all__ = ["PROTOTYPE_CALL_MS", "plain_call_ms", "synced_write_ms"]

PROTOTYPE_CALL_MS = 0.26
"""What a prepared request cost (processor ms) where the prototype was measured."""

CALLS = 1000
WARM_UP_CALLS = 100
WRITES = 100
WRITTEN = b"x" * 1000


def plain_call_ms() -> float:
    """Processor time of one prepared call from one thread over a kept connection (ms), the answer read.

    The stand-in answers at once here, since a processor that rests between calls is slower in them.
    """
    with SimProcess(SimConfig(accept_any_key=True, track_bodies=False)) as sim:
        headers = {"Authorization": "Bearer made-up"}
        request = requests.Request(
            "POST", sim.base_url + ENDPOINT, headers=headers, json=RequestShape().body(1)
        ).prepare()
        adapter = HTTPAdapter()
        for _ in range(WARM_UP_CALLS):
            _ = adapter.send(request).content
        began_s = time.process_time()
        for _ in range(CALLS):
            _ = adapter.send(request).content
        return (time.process_time() - began_s) * 1000 / CALLS


def synced_write_ms(directory: Path) -> float:
    """The median time of writing 1 kB to a file under `directory` and syncing it, as the embedded server does with
    every write (ms)."""
    times_ms = []
    with (directory / "synced").open("wb", buffering=0) as file:
        for _ in range(WRITES):
            file.write(WRITTEN)
            began_s = time.perf_counter()
            os.fdatasync(file.fileno())
            times_ms.append((time.perf_counter() - began_s) * 1000)
            time.sleep(0.005)
    return statistics.median(times_ms)
