"""Jobs and workers as real processes, for tests that kill them."""

from support.fixtures import broker, place, start_sim

__all__ = ["broker", "place", "start_sim"]
