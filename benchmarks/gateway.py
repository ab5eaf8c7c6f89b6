"""What `keyfleet gateway` adds to a call, beside the same call made directly and through LiteLLM.

`python -m benchmarks.gateway` from the root of the repository. Two keys without limits that could be reached, a worker
process for each, the embedded server. Latency is measured where the machine is not used up: one caller of answers that
take 50 ms, 50 and 200 callers of answers that take 500 ms. Rates and processor time are measured with answers that take
no time. All take turns, round by round, and each figure is the median of its rounds. Callers and the stand-in are
processes of their own and in no sum.

LiteLLM is installed once, into an environment under the user's cache. Its proxy does what the gateway does. Its router
is a library in its caller's process: its sum has its HTTP client in it, and takes no call of anybody else's.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.support.files import ENDPOINT, MODEL, BenchmarkKey, RequestShape, write_keys
from benchmarks.support.gateway_process import GatewayProcess
from benchmarks.support.litellm_proxy import LiteLLMProxy
from benchmarks.support.litellm_python import litellm_python
from benchmarks.support.load import Load
from benchmarks.support.load_process import LoadProcess
from benchmarks.support.process_tree import cpu_seconds
from benchmarks.support.report import print_figure, print_table
from benchmarks.support.scratch import scratch_directory
from benchmarks.support.yardstick import synced_write_ms
from keyfleet.sim import SimConfig, SimLatency, SimProcess

DIRECT, GATEWAY, ROUTER, PROXY = "direct", "keyfleet gateway", "LiteLLM router", "LiteLLM proxy"

KEYS = tuple(BenchmarkKey(name, ("1000000000/minute",), ("1000000000/minute",)) for name in ("key-1", "key-2"))

FIRST_TOKEN_MS = 200.0
AIM_ADDED_MS = 5.0
AIM_FIRST_TOKEN_MS = 20.0
AIM_RATIO = 5.0

PATIENT = ((50.0, (1,)), (500.0, (50, 200)))
"""How long answers take (ms), with which numbers of callers, where latency is measured."""

GREEDY = (1, 50, 200)
"""Callers where rates are measured."""

STREAMS = (1, 50)

STREAMED_TOKENS = 50
TOKEN_INTERVAL_MS = 40.0

FIRST_ROUND_S = 4.0


@dataclass(frozen=True, slots=True)
class Party:
    """Someone who brings calls to the provider. `cpu_s` is the processor time of their processes by now, by role."""

    name: str
    process: LoadProcess
    cpu_s: Callable[[], dict[str, float]]


@dataclass(slots=True)
class Figures:
    """One party's figures of one load, a value for each round."""

    median_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    cpu_ms: list[dict[str, float]] = field(default_factory=list)
    failed: int = 0

    def measure(self, party: Party, load: Load) -> None:
        """One round."""
        before = party.cpu_s()
        report = party.process.run(load)
        after = party.cpu_s()
        calls = report.calls + report.failed
        self.median_ms.append(statistics.median(report.times_ms))
        self.late_ms.append(percentile(report.times_ms, 99))
        self.first_ms += [statistics.median(report.first_ms)] if report.first_ms else []
        self.per_s.append(len(report.times_ms) / report.measured_s)
        self.cpu_ms.append({role: (after[role] - before[role]) * 1000 / calls for role in after})
        self.failed += report.failed

    def cpu(self, role: str | None = None) -> float:
        """Processor time per request of one role, or of all (ms)."""
        return statistics.median(sum(one.values()) if role is None else one.get(role, 0.0) for one in self.cpu_ms)


Round = dict[str, Figures]


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each load (default: 3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load in each round (default: 5)")
    parser.add_argument("--without-litellm", action="store_true", help="leave LiteLLM out, and install nothing")
    parser.add_argument("--only", choices=("latency", "rates", "streams"), help="run only one part")
    return parser.parse_args()


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of them don't exceed."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def added_ms(with_us: Sequence[float], direct: Sequence[float]) -> float:
    """The median of what the rounds add."""
    return statistics.median(ours - theirs for ours, theirs in zip(with_us, direct, strict=True))


@contextmanager
def parties_at(latency: SimLatency, python: Path | None) -> Iterator[list[Party]]:
    """A stand-in of this latency, and all who bring calls to it."""
    config = SimConfig(
        keys=tuple(BenchmarkKey(key.name).at_the_stand_in() for key in KEYS), latency=latency, track_bodies=False
    )
    with scratch_directory() as directory, ExitStack() as stack:
        sim = stack.enter_context(SimProcess(config))
        log = stack.enter_context((directory / "load.txt").open("wb"))
        keys_path = write_keys(directory / "keys.yaml", KEYS, sim.base_url)
        gateway = stack.enter_context(GatewayProcess(directory, keys_path, workers=len(KEYS)))
        direct = LoadProcess.of_http(sim.base_url + ENDPOINT, KEYS[0].secret, log)
        ours = LoadProcess.of_http(gateway.url + ENDPOINT.removeprefix("/v1"), gateway.api_key, log)
        parties = [Party(DIRECT, direct, dict), Party(GATEWAY, ours, gateway.cpu_s)]
        if python is not None:
            at = (f"{sim.base_url}/v1", MODEL, [key.secret for key in KEYS])
            router = LoadProcess.of_router(python, *at, log)
            proxy = stack.enter_context(LiteLLMProxy(python, directory, *at))
            parties.append(Party(ROUTER, router, lambda: {"router": cpu_seconds(router.pid)}))
            theirs = LoadProcess.of_http(f"{proxy.url}/chat/completions", proxy.api_key, log)
            parties.append(Party(PROXY, theirs, proxy.cpu_s))
        for party in parties:
            stack.enter_context(party.process)
        print_figure("one synced write of 1 kB costs here", f"{synced_write_ms(directory):.2f} ms")
        yield parties


def measure(parties: Sequence[Party], callers: int, given: argparse.Namespace, *, is_stream: bool = False) -> Round:
    """All parties in turn, after a round that isn't counted: first calls load what later ones have."""
    shape = RequestShape(max_tokens=2 * STREAMED_TOKENS) if is_stream else RequestShape()
    body = json.dumps(shape.body(1) | ({"stream": True} if is_stream else {}))
    found = {party.name: Figures() for party in parties}
    for party in parties:
        Figures().measure(party, Load(callers, FIRST_ROUND_S, body, is_stream=is_stream))
    for _ in range(given.rounds):
        for party in parties:
            found[party.name].measure(party, Load(callers, given.seconds, body, is_stream=is_stream))
    return found


def print_latency(python: Path | None, given: argparse.Namespace) -> None:
    """Latency added where the machine is not used up."""
    rows = []
    for latency_ms, numbers in PATIENT:
        with parties_at(SimLatency(latency_ms=latency_ms), python) as parties:
            for callers in numbers:
                found = measure(parties, callers, given)
                rows += [_latency_row(latency_ms, callers, name, found) for name in found]
    print_table(["answers take", "callers", "way", "median", "added", "99 %", "added", "failed"], rows)
    added = float(rows[1][4].split()[0])
    aim = f"below {AIM_ADDED_MS:.0f} ms"
    print_figure("added at the median with one caller", f"{added:.1f} ms", aim, met=added < AIM_ADDED_MS)


def _latency_row(latency_ms: float, callers: int, name: str, found: Round) -> list[str]:
    one, direct = found[name], found[DIRECT]
    medians = (statistics.median(one.median_ms), added_ms(one.median_ms, direct.median_ms))
    late = (statistics.median(one.late_ms), added_ms(one.late_ms, direct.late_ms))
    cells = [f"{value:.1f} ms" for value in (*medians, *late)]
    return [f"{latency_ms:.0f} ms", str(callers), name, *cells, str(one.failed)]


def print_rates(python: Path | None, given: argparse.Namespace) -> None:
    """Requests per second and processor time per request, answers taking no time."""
    rows, ratios = [], []
    with parties_at(SimLatency(), python) as parties:
        for callers in GREEDY:
            found = measure(parties, callers, given)
            for name, one in found.items():
                cpu = [f"{one.cpu():.2f} ms"] if name != DIRECT else ["-"]
                parts = ", ".join(f"{role} {one.cpu(role):.2f}" for role in one.cpu_ms[0]) if name == GATEWAY else ""
                median = f"{statistics.median(one.median_ms):.1f} ms"
                rows.append([str(callers), name, f"{statistics.median(one.per_s):,.0f}", *cpu, parts, median])
            ratios += [
                (callers, name, found[name].cpu() / found[GATEWAY].cpu()) for name in (PROXY, ROUTER) if name in found
            ]
    print_table(["callers", "way", "requests/s", "processor time per request", "of it (ms)", "median"], rows)
    for callers, name, ratio in ratios:
        title = f"times {name}'s requests/processor s, {callers} callers"
        print_figure(f"{title:<54}", f"{ratio:.1f}", f"at least {AIM_RATIO:.0f}", met=ratio >= AIM_RATIO)


def print_streams(python: Path | None, given: argparse.Namespace) -> None:
    """Time to the first token."""
    rows = []
    with parties_at(SimLatency(latency_ms=FIRST_TOKEN_MS, token_interval_ms=TOKEN_INTERVAL_MS), python) as parties:
        for callers in STREAMS:
            found = measure(parties, callers, given, is_stream=True)
            for name, one in found.items():
                added = added_ms(one.first_ms, found[DIRECT].first_ms)
                cells = [f"{statistics.median(one.first_ms):.1f} ms", f"{added:.1f} ms", str(one.failed)]
                rows.append([str(callers), name, *cells])
                if name == GATEWAY:
                    is_met = added <= AIM_FIRST_TOKEN_MS
                    title = f"first token later by, {callers} streams"
                    print_figure(title, f"{added:.1f} ms", f"at most {AIM_FIRST_TOKEN_MS:.0f} ms", met=is_met)
    print_table(["streams", "way", "first token, median", "added", "failed"], rows)


def main() -> None:
    """Run all parts."""
    given = parse_arguments()
    python = None if given.without_litellm else litellm_python()
    for name, part in (("latency", print_latency), ("rates", print_rates), ("streams", print_streams)):
        if given.only in (None, name):
            print(f"\n{name}")
            part(python, given)


if __name__ == "__main__":
    main()
