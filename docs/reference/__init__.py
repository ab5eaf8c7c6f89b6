"""The tables of `docs/configuration.md`, made from the code."""

from docs.reference.page import PAGE, filled

__all__ = ["PAGE", "filled"]
