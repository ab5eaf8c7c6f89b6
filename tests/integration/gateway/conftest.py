"""A gateway as a real process, before real workers."""

from support.fixtures import place, start_sim

__all__ = ["place", "start_sim"]
