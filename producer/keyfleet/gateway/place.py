"""What the paths of one gateway share."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

from keyfleet.gateway.admittance import Admittance
from keyfleet.gateway.held_bytes import HeldBytes
from keyfleet.gateway.serving_fleet import ServingFleet
from keyfleet.gateway.terms import GatewayTerms

__all__ = ["GatewayPlace"]

READING_THREADS = 2
"""Large bodies are taken apart on so many, so that those of one client hold up few others of theirs."""


def _readers() -> Executor:
    return ThreadPoolExecutor(READING_THREADS, thread_name_prefix="keyfleet-gateway-body")


@dataclass(slots=True)
class GatewayPlace:
    """`is_closing`: nothing new is taken any more. `readers` take large bodies apart. `held` is the room for bodies."""

    fleet: ServingFleet = field(repr=False)
    admittance: Admittance
    terms: GatewayTerms
    held: HeldBytes
    is_closing: bool = False
    readers: Executor = field(default_factory=_readers, repr=False)
