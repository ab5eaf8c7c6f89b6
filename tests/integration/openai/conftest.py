"""Jobs and workers as real processes."""

from support.fixtures import broker, place, start_sim

__all__ = ["broker", "place", "start_sim"]
