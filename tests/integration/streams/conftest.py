"""Answers that come in pieces, through real servers, workers and providers."""

from support.fixtures import broker, place, start_sim
from support.fleets import make_fleet

__all__ = ["broker", "make_fleet", "place", "start_sim"]
