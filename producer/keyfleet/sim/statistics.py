"""What the stand-in saw, counted so that tests can assert on it."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from keyfleet.sim.bodies import BodyLedger
from keyfleet.sim.config import SimLimit
from keyfleet.sim.enforcement import costs_of
from keyfleet.sim.keyring import GroupQuota
from keyfleet.sim.trailing import TrailingSum

__all__ = ["Statistics", "Visit"]

RECENT_REQUESTS = 1000
"""How many of the last requests are kept for `/sim/requests`."""

_NS_PER_S = 1_000_000_000


class _Peak:
    """The most that ever fell into a trailing window of one limit, in the limit's unit.

    `admitted` counts what the limits let pass, `arrived` also what they refused. Measured apart from enforcement,
    and by trailing windows for every kind of it.
    """

    __slots__ = ("_admitted", "_arrived", "admitted_peak", "arrived_peak", "limit")

    def __init__(self, limit: SimLimit) -> None:
        window_ns = round(limit.window_s * _NS_PER_S)
        self.limit = limit
        self._admitted = TrailingSum(window_ns)
        self._arrived = TrailingSum(window_ns)
        self.admitted_peak = 0
        self.arrived_peak = 0

    def add(self, now_ns: int, amount: int, *, admitted: bool) -> None:
        self.arrived_peak = max(self.arrived_peak, self._arrived.add(now_ns, amount))
        if admitted:
            self.admitted_peak = max(self.admitted_peak, self._admitted.add(now_ns, amount))


class _KeyCounts:
    __slots__ = (
        *("admitted", "by_status", "images", "in_flight", "in_flight_peak", "over_limit", "quotas", "requests"),
        "tokens",
    )

    def __init__(self) -> None:
        self.requests = self.admitted = self.over_limit = self.in_flight = self.in_flight_peak = 0
        self.tokens = self.images = 0
        self.by_status: Counter[str] = Counter()
        self.quotas: dict[GroupQuota, list[_Peak]] = {}

    def document(self) -> dict[str, Any]:
        limits = [
            {
                "model": quota.pattern,
                "group": quota.group,
                "of": peak.limit.of,
                "amount": peak.limit.amount,
                "window_s": peak.limit.window_s,
                "peak": peak.admitted_peak,
                "peak_arrived": peak.arrived_peak,
            }
            for quota, peaks in self.quotas.items()
            for peak in peaks
        ]
        return {
            "requests": self.requests,
            "admitted": self.admitted,
            "over_limit": self.over_limit,
            "tokens_charged": self.tokens,
            "images_charged": self.images,
            "in_flight": self.in_flight,
            "in_flight_peak": self.in_flight_peak,
            "by_status": dict(self.by_status),
            "limits": limits,
        }


class Visit:
    """One request from its arrival to its end. What becomes known on the way is filled in.

    `tokens` and `images` are what it was charged. `is_streamed` means that its stream began; of that,
    `streamed_tokens` (with several choices, one of each at a time) were written, the first at `first_token_ns`.
    """

    __slots__ = (
        *("at_ns", "counts", "digest", "endpoint", "first_token_ns", "images", "inputs", "is_streamed", "key_name"),
        *("model", "streamed_tokens", "tokens"),
    )

    def __init__(self, at_ns: int, endpoint: str, digest: bytes | None) -> None:
        self.at_ns = at_ns
        self.endpoint = endpoint
        self.digest = digest
        self.inputs: tuple[bytes, ...] = () if digest is None else (digest,)
        self.key_name: str | None = None
        self.counts: _KeyCounts | None = None
        self.model: str | None = None
        self.tokens = self.images = 0
        self.is_streamed = False
        self.streamed_tokens = 0
        self.first_token_ns: int | None = None

    def token_written(self, now_ns: int) -> None:
        """One more token of the stream went out."""
        self.streamed_tokens += 1
        if self.first_token_ns is None:
            self.first_token_ns = now_ns


class Statistics:
    """Counts since the start or the last reset. Memory is bounded by windows and keys, save for the bodies."""

    def __init__(self, now_ns: int, *, track_bodies: bool) -> None:
        self._began_ns = now_ns
        self._bodies = BodyLedger() if track_bodies else None
        self._requests = self._over_limit = self._invalid_authorization = self._in_flight = self._in_flight_peak = 0
        self._by_status: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._keys: dict[str, _KeyCounts] = {}
        self._peaks: dict[GroupQuota, list[_Peak]] = {}
        self._recent: deque[tuple[Visit, int, str]] = deque(maxlen=RECENT_REQUESTS)

    def arrived(self, now_ns: int, endpoint: str, key_name: str | None, digest: bytes | None) -> Visit:
        """A whole request is here; `key_name` None means no key, or one that nobody knows."""
        visit = Visit(now_ns, endpoint, digest)
        self._requests += 1
        self._in_flight += 1
        self._in_flight_peak = max(self._in_flight_peak, self._in_flight)
        self._arrive(visit.inputs)
        if key_name is None:
            self._invalid_authorization += 1
            return visit
        counts = self._keys.get(key_name)
        if counts is None:
            counts = self._keys[key_name] = _KeyCounts()
        counts.requests += 1
        counts.in_flight += 1
        counts.in_flight_peak = max(counts.in_flight_peak, counts.in_flight)
        visit.key_name, visit.counts = key_name, counts
        return visit

    def told_inputs(self, visit: Visit, inputs: tuple[bytes, ...]) -> None:
        """Digests of the texts that a request holds, each to be told apart in place of its body."""
        visit.inputs = inputs
        self._arrive(inputs)

    def _arrive(self, digests: tuple[bytes, ...]) -> None:
        if self._bodies is not None:
            for digest in digests:
                self._bodies.arrive(digest)

    def met_limits(
        self, visit: Visit, quota: GroupQuota, now_ns: int, tokens: int, images: int = 0, *, admitted: bool
    ) -> None:
        """The request of a known key came to its limits with a cost of `tokens` and `images`."""
        costs = costs_of(tokens, images)
        peaks = self._peaks.get(quota)
        if peaks is None:
            peaks = self._peaks[quota] = [_Peak(limit) for limit in quota.limits]
        for peak in peaks:
            if costs[peak.limit.of]:
                peak.add(now_ns, costs[peak.limit.of], admitted=admitted)
        counts = visit.counts
        if counts is None:
            return
        counts.quotas[quota] = peaks
        if admitted:
            visit.tokens, visit.images = tokens, images
            counts.admitted += 1
            counts.tokens += tokens
            counts.images += images
        else:
            counts.over_limit += 1
            self._over_limit += 1

    def struck(self, fault: str) -> None:
        """A fault was chosen for a request."""
        self._faults[fault] += 1

    def ended(self, visit: Visit, now_ns: int, outcome: str, *, succeeded: bool) -> None:
        """`outcome` is the status sent, or what happened in its place (`reset`, `hang`, `client_left`…)."""
        self._in_flight -= 1
        self._by_status[outcome] += 1
        if visit.counts is not None:
            visit.counts.in_flight -= 1
            visit.counts.by_status[outcome] += 1
        if self._bodies is not None:
            for digest in visit.inputs:
                self._bodies.leave(digest, succeeded=succeeded)
        self._recent.append((visit, now_ns, outcome))

    def document(self) -> dict[str, Any]:
        """Everything but the single requests, as it stands at `/sim/stats`."""
        nothing = {"answered_bodies": None, "sent_after_success": None, "concurrent_duplicates": None}
        return {
            "requests": self._requests,
            "over_limit": self._over_limit,
            "invalid_authorization": self._invalid_authorization,
            "in_flight": self._in_flight,
            "in_flight_peak": self._in_flight_peak,
            "by_status": dict(self._by_status),
            "faults": dict(self._faults),
            **(self._bodies.counts() if self._bodies else nothing),
            "keys": {name: counts.document() for name, counts in self._keys.items()},
        }

    def recent(self, limit: int) -> list[dict[str, Any]]:
        """The last requests that are over, oldest first; times in seconds since the start or the last reset."""
        latest = list(self._recent)[-limit:] if limit > 0 else []
        return [
            {
                "arrived_s": self._since_start_s(visit.at_ns),
                "ended_s": self._since_start_s(ended_ns),
                "key": visit.key_name,
                "endpoint": visit.endpoint,
                "model": visit.model,
                "status": outcome,
                "tokens": visit.tokens,
                "images": visit.images,
                "streamed": visit.is_streamed,
                "streamed_tokens": visit.streamed_tokens,
                "first_token_s": None if visit.first_token_ns is None else self._since_start_s(visit.first_token_ns),
                "body_sha256": visit.digest.hex() if visit.digest else None,
            }
            for visit, ended_ns, outcome in latest
        ]

    def _since_start_s(self, at_ns: int) -> float:
        return (at_ns - self._began_ns) / _NS_PER_S
