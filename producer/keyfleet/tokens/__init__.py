"""What a request costs: tokens of its prompt, by the model's encoding, and of the output that it allows; and images."""

from keyfleet.tokens.cost import ASSUMED_OUTPUT_TOKENS, count_request_images, count_request_tokens
from keyfleet.tokens.counting import TextCounter, counter_for
from keyfleet.tokens.estimate import estimate_tokens

__all__ = [
    "ASSUMED_OUTPUT_TOKENS",
    "TextCounter",
    "count_request_images",
    "count_request_tokens",
    "counter_for",
    "estimate_tokens",
]
