"""The packages that the gateway stands on, or the line that says how to get them."""

from __future__ import annotations

from importlib import import_module

__all__ = ["ADVICE"]

ADVICE = "the gateway needs Starlette, uvicorn and httptools: pip install 'keyfleet[gateway]'"

for _name in ("starlette", "uvicorn", "httptools"):
    try:
        import_module(_name)
    except ModuleNotFoundError as error:
        if error.name != _name:
            raise
        raise ImportError(ADVICE, name=_name) from None
