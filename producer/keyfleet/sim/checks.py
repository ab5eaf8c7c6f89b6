"""Checks of settings: each raises a ConfigurationError that names the setting and what is expected, never the value."""

from __future__ import annotations

from math import isfinite
from typing import Any, get_args

from keyfleet.errors import ConfigurationError

__all__ = ["is_number", "require", "require_choice", "require_count", "require_number"]


def require(condition: bool, setting: str, expected: str) -> None:
    """Raise where the condition doesn't hold; `expected` is what the error says after "expected"."""
    if not condition:
        raise ConfigurationError(f"{setting}: expected {expected}", setting=setting)


def is_number(value: Any) -> bool:
    """Whether this is a finite number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def require_number(owner: object, setting: str, *, above: float | None = None) -> None:
    """Check that a field is a number >= 0, or > `above` where that is given."""
    value = getattr(owner, setting)
    if above is None:
        require(is_number(value) and value >= 0, setting, "a number of 0 or more")
    else:
        require(is_number(value) and value > above, setting, f"a number above {above:g}")


def require_count(owner: object, setting: str, *, least: int = 0) -> None:
    """Check that a field is a whole number of at least so much."""
    value = getattr(owner, setting)
    is_count = isinstance(value, int) and not isinstance(value, bool)
    require(is_count and value >= least, setting, f"a whole number of {least} or more")


def require_choice(value: object, setting: str, choices: object) -> None:
    """Check that a value is one of those that a `Literal` type names."""
    names = get_args(choices)
    require(value in names, setting, "one of " + ", ".join(names))
