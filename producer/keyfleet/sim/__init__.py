"""A provider stand-in that enforces limits as the real providers do, injects faults, and counts what it saw."""

from keyfleet.sim.conduct import SimAnswers, SimFaults, SimLatency
from keyfleet.sim.config import SimConfig, SimKey, SimLimit, parse_limits
from keyfleet.sim.document import config_from_document, document_of, load_sim_config
from keyfleet.sim.process import SimProcess
from keyfleet.sim.server import SimServer, serve_forever

__all__ = [
    "SimAnswers",
    "SimConfig",
    "SimFaults",
    "SimKey",
    "SimLatency",
    "SimLimit",
    "SimProcess",
    "SimServer",
    "config_from_document",
    "document_of",
    "load_sim_config",
    "parse_limits",
    "serve_forever",
]
