"""Those who watch a fleet, beside real workers."""

from support.browser import browser
from support.fixtures import broker, place, start_sim

__all__ = ["broker", "browser", "place", "start_sim"]
