"""Keys that come and go, with real processes."""

from support.fixtures import broker, place, start_sim

__all__ = ["broker", "place", "start_sim"]
