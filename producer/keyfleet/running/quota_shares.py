"""How much of its quota each key used over a run."""

from __future__ import annotations

from keyfleet.running.fleet_status import FleetStatus
from keyfleet.running.progress import key_shares

__all__ = ["QuotaShares"]


class QuotaShares:
    """The mean share of each key's tightest limit, over the looks at which the run had work for it."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._looks: dict[str, int] = {}
        self._refused: dict[str, int] = {}
        self._last: FleetStatus | None = None

    def note(self, fleet: FleetStatus) -> None:
        """Take in a status; the same one again counts once."""
        if fleet is self._last:
            return
        self._last = fleet
        for name, (_, share, _) in key_shares(fleet).items():
            if share is not None:
                self._sums[name] = self._sums.get(name, 0.0) + min(share, 1.0)
                self._looks[name] = self._looks.get(name, 0) + 1
        for worker in fleet.workers:
            self._refused[worker.key_name] = worker.totals.get("rate_limited", 0)

    def share(self, key_name: str) -> float | None:
        """The mean share, None for a key without limits."""
        looks = self._looks.get(key_name, 0)
        return self._sums[key_name] / looks if looks else None

    def refused(self, key_name: str) -> int:
        """How many 429s the key's workers have met, as far as they have said."""
        return self._refused.get(key_name, 0)

    def key_names(self) -> list[str]:
        """All keys that were seen."""
        return sorted(self._refused)
