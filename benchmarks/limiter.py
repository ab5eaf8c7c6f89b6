"""The exact limiter beside `limits`' moving window and sliding window counter, on one real server, one connection.

`python -m benchmarks.limiter` from the root of the repository. Operations per second, microseconds at cost 1 and at
cost 1,500 against 250,000/minute, bytes per quota once it is full, and the worst overshoot in any trailing window under
an adversarial burst. Grant times are the server's for ours, and this host's for the others, as each stamps them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import redis
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter

from benchmarks.support.overshoot import attack
from benchmarks.support.report import print_figure, print_table
from benchmarks.support.scratch import scratch_directory, state_dir_in
from keyfleet.broker import connect
from keyfleet.embedded import EmbeddedServer
from keyfleet_workers.limiter import ExactRedisStorage, ExactSlidingWindowRateLimiter, QuotaLimit

AMOUNT = 250_000
QUOTA = f"{AMOUNT}/minute"
LARGE_COST = 1_500
GRANTS_AIM_PER_S = 5_000
COST_AIM = 1.15
"""Cost-independent means: cost 1,500 takes no more than this times what cost 1 takes; the rest is noise."""

FILL_WINDOW_S = 4
FILL_HITS = 1000
"""For the bytes of a full quota: a window (s), and the hits that fill it."""

AT_ONCE = 32
WARM_UP = 50
"""Operations before each timing."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A limiter under test; `hit(item, name, cost)` gives the time of a grant (s), or None."""

    name: str
    hit: Callable[[RateLimitItem, str, int], float | None]


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each timing (s, default: 3)")
    parser.add_argument(
        "--durable", action="store_true", help="let the server sync each grant to disk, as the fleet's does"
    )
    parser.add_argument("--attack-window-s", type=int, default=2, help="window that is attacked (s, default: 2)")
    parser.add_argument("--attack-amount", type=int, default=500, help="its amount (default: 500)")
    return parser.parse_args()


def contenders(client: redis.Redis) -> list[Contender]:
    """All three on the same connection."""
    pool = client.connection_pool
    storage = RedisStorage("redis+unix://", connection_pool=pool)
    exact = ExactRedisStorage("keyfleet+unix://", connection_pool=pool)

    def hit_exact(item: RateLimitItem, name: str, cost: int) -> float | None:
        limit = QuotaLimit(f"{name}:exact", "requests", item.amount, item.get_expiry() * 1000, 0)
        found = exact.reserve([limit], [[cost]])
        return found.now_ms / 1000 if found.granted else None

    def hit_with(strategy: RateLimiter) -> Callable[[RateLimitItem, str, int], float | None]:
        def hit(item: RateLimitItem, name: str, cost: int) -> float | None:
            at_s = time.time()
            return at_s if strategy.hit(item, name, cost=cost) else None

        return hit

    return [
        Contender("exact (ours)", hit_exact),
        Contender("limits: moving window", hit_with(MovingWindowRateLimiter(storage))),
        Contender("limits: sliding window counter", hit_with(SlidingWindowCounterRateLimiter(storage))),
    ]


def microseconds(operation: Callable[[int], object], seconds: float) -> float:
    """The mean time of `operation(number)` over about `seconds` (µs)."""
    for number in range(WARM_UP):
        operation(number)
    done, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        for _ in range(20):
            operation(WARM_UP + done)
            done += 1
    return (time.perf_counter() - began_s) * 1e6 / done


def measure_contender(client: redis.Redis, one: Contender, given: argparse.Namespace) -> list[str]:
    """A row of the table. Every grant is a real one: a quota is left before it is full."""
    times_us = []
    for cost in (1, LARGE_COST):
        item, per_quota = parse(QUOTA), AMOUNT // cost - 1

        def hit(number: int, cost: int = cost, item: RateLimitItem = item, per_quota: int = per_quota) -> None:
            if one.hit(item, f"time:{cost}:{number // per_quota}", cost) is None:
                raise RuntimeError(f"{one.name} refused what fits")

        client.flushall()
        times_us.append(microseconds(hit, given.seconds))
    window_s = given.attack_window_s
    attacked = parse(f"{given.attack_amount}/{window_s} second")
    client.flushall()
    fullest = attack(lambda cost: one.hit(attacked, "attacked", cost), window_s, cost=1)
    overshoot = max(0.0, fullest / given.attack_amount - 1)
    row = [one.name, f"{1e6 / times_us[0]:,.0f}", f"{times_us[0]:.0f}", f"{times_us[1]:.0f}"]
    return [*row, f"{times_us[1] / times_us[0]:.2f}", f"{bytes_when_full(client, one):,}", f"{overshoot:.1%}"]


def bytes_when_full(client: redis.Redis, one: Contender) -> int:
    """What the keys of one quota occupy once its whole amount was taken, evenly over one window.

    The window is shorter than a minute to save time; none of the three keeps more for a longer one.
    """
    client.flushall()
    item = parse(f"{AMOUNT}/{FILL_WINDOW_S} second")
    began_s = time.monotonic()
    for hits in range(1, FILL_HITS + 1):
        one.hit(item, "filled", AMOUNT // FILL_HITS)
        time.sleep(max(0.0, began_s + hits * FILL_WINDOW_S / FILL_HITS - time.monotonic()))
    keys = cast("list[bytes]", client.keys("*"))
    return sum(cast(int, client.memory_usage(key, samples=0)) for key in keys)


def print_ours(client: redis.Redis, given: argparse.Namespace) -> None:
    """What only ours does: two limits together, and many requests in one round trip."""
    exact = ExactRedisStorage("keyfleet+unix://", connection_pool=client.connection_pool)
    client.flushall()
    # Amounts that are never reached: what is timed is granting.
    limits = [
        QuotaLimit("two:requests", "requests", 10**12, 60_000, 150),
        QuotaLimit("two:tokens", "tokens", 10**15, 60_000, 150),
    ]
    alone_us = microseconds(lambda _: exact.reserve(limits, [[1, LARGE_COST]]), given.seconds)
    many_us = microseconds(lambda _: exact.reserve(limits, [[1, LARGE_COST]] * AT_ONCE), given.seconds)
    rate = 1e6 / alone_us
    print_figure("ours, two limits, cost 1,500", f"{rate:,.0f} grants/s, {alone_us:.0f} µs")
    print_figure(f"ours, two limits, {AT_ONCE} at a time", f"{AT_ONCE * 1e6 / many_us:,.0f} grants/s")
    ours = ExactSlidingWindowRateLimiter(exact)
    item = parse("1000000000/minute")
    strategy_us = microseconds(lambda _: ours.hit(item, "strategy"), given.seconds)
    print_figure("ours, as a strategy of limits", f"{1e6 / strategy_us:,.0f} hits/s")
    met = rate >= GRANTS_AIM_PER_S
    print_figure("grants per second from one connection", f"{rate:,.0f}", f"at least {GRANTS_AIM_PER_S:,}", met=met)


def main() -> None:
    """Measure all three on one embedded server."""
    given = parse_arguments()
    with scratch_directory() as directory, EmbeddedServer(state_dir_in(directory)) as server:
        client = connect(server.url)
        try:
            if not given.durable:  # else the disk is what is measured, the same for all
                client.config_set("appendonly", "no")
            head = ["limiter", "hits/s", "µs at cost 1", f"µs at {LARGE_COST:,}", "ratio", "bytes, full", "overshoot"]
            rows = [measure_contender(client, one, given) for one in contenders(client)]
            print_table(head, rows)
            ratio, overshoot = float(rows[0][4]), rows[0][6]
            print_figure("ours: overshoot", overshoot, "exactly 0", met=overshoot == "0.0%")
            print_figure("ours: cost 1,500 / cost 1", f"{ratio:.2f}", f"at most {COST_AIM}", met=ratio <= COST_AIM)
            print_ours(client, given)
        finally:
            client.close()


if __name__ == "__main__":
    main()
