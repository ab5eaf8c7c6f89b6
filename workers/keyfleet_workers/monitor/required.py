"""The package that the dashboard stands on, or the line that says how to get it."""

from __future__ import annotations

from importlib import import_module

__all__ = ["ADVICE"]

ADVICE = "the dashboard needs Flower 2.2 or newer: pip install 'keyfleet[monitor]'"

for _name in ("flower.app", "flower.utils.blocking"):  # older ones have no such module, and don't hold read-only mode
    try:
        import_module(_name)
    except ModuleNotFoundError as error:
        if error.name not in ("flower", _name):
            raise
        raise ImportError(ADVICE, name="flower") from None
