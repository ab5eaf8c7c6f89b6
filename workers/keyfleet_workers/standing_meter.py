"""Tells the meter about once a second how a worker stands."""

from __future__ import annotations

from dataclasses import dataclass

from keyfleet_workers.dispatch.held import HeldRequests
from keyfleet_workers.dispatch.slots import CallSlots
from keyfleet_workers.dispatch.waits import Waits
from keyfleet_workers.metrics import Meter, Standing

__all__ = ["StandingMeter"]


@dataclass(frozen=True, slots=True)
class StandingMeter:
    """Asks nobody but this process, so that it goes on while the broker is away."""

    meter: Meter
    slots: CallSlots
    held: HeldRequests
    waits: Waits

    def note(self) -> None:
        """Tell how the worker stands now."""
        self.meter.stand(
            Standing(
                in_flight=self.slots.used,
                slots=self.slots.size,
                leases=len(self.held),
                waits=self.waits.classes(),
                waited_s=self.waits.lasted_s(),
            )
        )
