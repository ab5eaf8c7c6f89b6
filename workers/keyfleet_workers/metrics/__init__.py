"""What a worker tells Prometheus. Parts of a worker know `Meter` alone, which needs no library."""

from keyfleet_workers.metrics.guarded_meter import GuardedMeter
from keyfleet_workers.metrics.meter import NO_METER, Meter, Standing

__all__ = ["NO_METER", "GuardedMeter", "Meter", "Standing"]
