"""Those who watch a fleet, beside real workers."""

from support.fixtures import broker, place, start_sim

__all__ = ["broker", "place", "start_sim"]
