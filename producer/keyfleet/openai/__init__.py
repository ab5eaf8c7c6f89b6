"""The official client, whose calls go through the fleet: `from keyfleet.openai import OpenAI, AsyncOpenAI`."""

from keyfleet.openai.async_client import AsyncOpenAI
from keyfleet.openai.client import OpenAI

__all__ = ["AsyncOpenAI", "OpenAI"]
