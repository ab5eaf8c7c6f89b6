"""Jobs and workers as real processes."""

from support.fixtures import broker, place, start_sim
from support.fleets import make_fleet

__all__ = ["broker", "make_fleet", "place", "start_sim"]
