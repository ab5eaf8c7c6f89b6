"""The gateway: OpenAI's API over HTTP, with all keys of the fleet behind it. Needs `keyfleet[gateway]`."""

from keyfleet.gateway import required
from keyfleet.gateway.api_keys import ApiKeys
from keyfleet.gateway.app import Gateway
from keyfleet.gateway.serving_fleet import ServingFleet, StreamedAnswer
from keyfleet.gateway.terms import GatewayTerms

__all__ = ["ApiKeys", "Gateway", "GatewayTerms", "ServingFleet", "StreamedAnswer", "required"]
