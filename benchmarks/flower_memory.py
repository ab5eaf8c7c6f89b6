"""How much memory `keyfleet flower` takes while a million requests go by.

`python -m benchmarks.flower_memory` from the root of the repository. A million requests are 31,250 chunks of 32: their
events are sent as workers send them, of some workers, through a real server to the real command. What it keeps is the
newest 10,000 chunks, so its memory is looked at once these are full, and at the end.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from benchmarks.support.report import print_figure, print_table
from benchmarks.support.scratch import scratch_directory, state_dir_in
from keyfleet.broker import celery_url
from keyfleet.embedded import EmbeddedServer
from keyfleet.ticket_message import TASK_NAME
from keyfleet.tickets import make_app

FLEET = "main"
REQUESTS_PER_CHUNK = 32
EVENTS_PER_CHUNK = 4
FULL_AFTER = 1.25
"""So many times what is kept has gone by when its memory counts as full."""

RATIO_AIM = 1.10
SILENCE_S = 120.0
"""So long Flower may take to hear of what was sent (s)."""


class Watched:
    """A Flower that runs, and what it has heard."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self._url = url

    def heard(self) -> int:
        """Events of tasks so far."""
        with urllib.request.urlopen(f"{self._url}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        return sum(
            int(float(number)) for number in re.findall(r"^flower_events_total\{.*\"task-.*\} (\S+)$", text, re.M)
        )

    def wait_until_heard(self, events: int) -> None:
        """Wait until it has heard of so many."""
        end_s = time.monotonic() + SILENCE_S
        while self.heard() < events:
            if time.monotonic() > end_s:
                raise RuntimeError(f"Flower has heard of {self.heard():,} events of {events:,}")
            time.sleep(0.2)

    def memory_mib(self) -> float:
        """What it holds of the machine's memory now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        (kib,) = re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.M)
        return int(kib) / 1024


@contextmanager
def flower_on(broker_url: str, max_tasks: int) -> Iterator[Watched]:
    """`keyfleet flower`, for as long as it takes."""
    command = [sys.executable, "-m", "keyfleet", "flower", "--broker", broker_url, "--fleet", FLEET, "--port", "0"]
    command += ["--max-tasks", str(max_tasks), "--log-level", "error"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        (url,) = re.findall(r"(http://\S+)/keys", line)
        yield Watched(process, url)
    finally:
        process.terminate()
        process.wait()


def send_chunks(broker_url: str, numbers: range, workers: int) -> None:
    """The events of chunks, as their workers send them."""
    app = make_app(celery_url(broker_url), FLEET)
    with app.connection_for_write() as connection:
        dispatchers = [
            app.events.Dispatcher(connection, hostname=f"key-{number}@host-{number}", buffer_while_offline=False)
            for number in range(workers)
        ]
        for number in numbers:
            send, uuid = dispatchers[number % workers].send, str(uuid4())
            first = number * REQUESTS_PER_CHUNK
            what = f"gpt-4o-mini, job 3f2a81c0 (questions.jsonl) lines {first + 1}-{first + REQUESTS_PER_CHUNK}"
            send("task-received", uuid=uuid, name=TASK_NAME, args="gpt-4o-mini, up to 32 requests", kwargs="{}")
            send("task-started", uuid=uuid)
            send("task-started", uuid=uuid, args=what)
            send("task-succeeded", uuid=uuid, result="'32 succeeded, 12,345 tokens'", runtime=1.5)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000, help="requests that go by (default: 1000000)")
    parser.add_argument("--workers", type=int, default=10, help="workers that send them (default: 10)")
    parser.add_argument("--max-tasks", type=int, default=10_000, help="chunks that Flower keeps (default: 10000)")
    return parser.parse_args()


def main() -> None:
    """Send all events in steps, and print what Flower holds after each."""
    given = parse_arguments()
    chunks = given.requests // REQUESTS_PER_CHUNK
    full = min(chunks, int(given.max_tasks * FULL_AFTER))
    rows = []
    with (
        scratch_directory() as directory,
        EmbeddedServer(state_dir_in(directory)) as server,
        flower_on(server.url, given.max_tasks) as flower,
    ):
        rows.append(["nothing", f"{flower.memory_mib():.0f}"])
        while not flower.heard():  # it hears of nothing that was sent before it listens
            send_chunks(server.url, range(1), given.workers)
            time.sleep(0.2)
        before = flower.heard()
        send_chunks(server.url, range(full), given.workers)
        flower.wait_until_heard(before + full * EVENTS_PER_CHUNK)
        full_mib = flower.memory_mib()
        rows.append([f"{full * REQUESTS_PER_CHUNK:,} requests", f"{full_mib:.0f}"])
        send_chunks(server.url, range(full, chunks), given.workers)
        flower.wait_until_heard(before + chunks * EVENTS_PER_CHUNK)
        end_mib = flower.memory_mib()
        rows.append([f"{chunks * REQUESTS_PER_CHUNK:,} requests", f"{end_mib:.0f}"])
    print_table(["Flower after", "MiB"], rows)
    ratio = end_mib / full_mib
    print_figure("at the end, to when it was full", f"{ratio:.3f}", f"at most {RATIO_AIM}", met=ratio <= RATIO_AIM)


if __name__ == "__main__":
    main()
