"""The embedded server: a Redis-compatible server that comes and goes with its users."""

from keyfleet.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer"]
