"""The official package, whichever release is installed, and the HTTP library that this release is built on."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["HTTP", "openai"]

_ADVICE = "keyfleet.openai needs the official package, 1.0 or newer: pip install 'keyfleet[openai]'"

try:
    import openai
except ModuleNotFoundError as error:
    if error.name != "openai":
        raise
    raise ImportError(_ADVICE, name="openai") from None

if not hasattr(openai, "AsyncOpenAI"):
    raise ImportError(_ADVICE, name="openai")

HTTP: Any = import_module(openai.Timeout.__init__.__module__.partition(".")[0])
"""httpx up to 2.x, httpx2 since 3.0. Releases differ in which one's clients and errors they know."""
