"""The settings: which variables each is read from, and those that no option sets."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from docs.reference.field_docs import field_docs, split_default
from docs.reference.markdown import NOTHING, as_code, quoted, table
from keyfleet.config import Environment, Settings
from keyfleet.errors import ConfigurationError

__all__ = ["SettingVariables", "default_text", "expected_of", "setting_variables", "settings_table"]

WRONG = "?"
"""No setting takes this, so the error says what is expected."""

_DURATION_UNITS_S = {"d": 86_400, "h": 3600, "s": 1}
_SIZE_UNITS_BYTES = {"GB": 10**9, "MB": 10**6, "kB": 10**3}


@dataclass(frozen=True, slots=True)
class SettingVariables:
    """A field of `Settings` with the variables it is read from, the first of which is its name, and its default."""

    field: str
    names: tuple[str, ...]
    default: Any


class _Asked:
    """Stands in for an Environment; what `Settings` asks it for goes into the field."""

    def __getattr__(self, getter: str) -> Any:
        if getter == "get":
            return lambda *names: None
        return lambda *names, default=None, **bounds: (names, default)


@cache
def setting_variables() -> dict[str, SettingVariables]:
    """Every setting by the name of its variable."""
    asked = cast(Any, Settings.from_environment).__func__(dict, _Asked())  # what the class would have been given
    found = [SettingVariables(field, *names_and_default) for field, names_and_default in asked.items()]
    return {setting.names[0]: setting for setting in found}


def settings_table(with_option: frozenset[str]) -> str:
    """The settings that only a variable sets: those that are not among `with_option`."""
    texts = field_docs(Settings)
    rows = []
    for variable, setting in sorted(setting_variables().items()):
        if variable in with_option:
            continue
        if setting.field not in texts:
            raise ValueError(f"Settings.{setting.field}: no option sets it, so its meaning must stand under the field")
        meaning, default = split_default(texts[setting.field])
        shown = quoted(default) if default else f"`{_default(setting)}`"
        rows.append((variables_cell(setting), _value(setting), shown, quoted(meaning)))
    return table(("variable", "value", "default", "meaning"), rows)


def variables_cell(setting: SettingVariables) -> str:
    """The variable, and in brackets the other names that are understood."""
    others = f" ({as_code(*setting.names[1:])})" if setting.names[1:] else ""
    return as_code(setting.names[0]) + others


def _default(setting: SettingVariables) -> str:
    """A variable whose name has its unit takes a bare number."""
    if setting.names[0].endswith("_S"):
        return f"{setting.default:g}"
    return default_text(setting.field, setting.default)


def _value(setting: SettingVariables) -> str:
    try:
        Settings.from_environment(Environment({setting.names[0]: WRONG}))
    except ConfigurationError as error:
        return quoted(expected_of(str(error)))
    return "a path"


def expected_of(message: str) -> str:
    """What an error says is expected."""
    return message.partition("expected ")[2] or message


def default_text(field: str, default: Any) -> str:
    """A default as people write it, by the unit in the field's name."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if field == "log_level":
        return str(logging.getLevelName(default)).lower()
    if field in ("use", "guard_share", "headroom"):
        return f"{default * 100:g}%"
    for suffix, units in (("_s", _DURATION_UNITS_S), ("_bytes", _SIZE_UNITS_BYTES)):
        if field.endswith(suffix) and default is not None:
            return next(f"{default / size:g}{unit}" for unit, size in units.items() if default % size == 0)
    return NOTHING if default is None else str(Path(default) if isinstance(default, Path) else default)
