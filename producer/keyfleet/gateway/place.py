"""What the paths of one gateway share."""

from __future__ import annotations

from dataclasses import dataclass, field

from keyfleet.gateway.admittance import Admittance
from keyfleet.gateway.serving_fleet import ServingFleet
from keyfleet.gateway.terms import GatewayTerms

__all__ = ["GatewayPlace"]


@dataclass(slots=True)
class GatewayPlace:
    """`is_closing`: nothing new is taken any more."""

    fleet: ServingFleet = field(repr=False)
    admittance: Admittance
    terms: GatewayTerms
    is_closing: bool = False
