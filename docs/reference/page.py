"""The page: prose that people write, and between pairs of marks the tables that are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from docs.reference.command_options import commands_text, option_variables, shared_options_table
from docs.reference.keys_file import key_fields_table, limit_fields_table, model_fields_table
from docs.reference.settings import settings_table

__all__ = ["PAGE", "filled"]

PAGE = Path(__file__).parents[1] / "configuration.md"

_PARTS: Mapping[str, Callable[[], str]] = {
    "key fields": key_fields_table,
    "limit fields": limit_fields_table,
    "model fields": model_fields_table,
    "shared options": shared_options_table,
    "commands": commands_text,
    "settings": lambda: settings_table(option_variables()),
}

_PART = re.compile(r"(<!-- made by `make reference`: (?P<name>[a-z ]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def filled(text: str) -> str:
    """`text` with every made part as the code has it now. Raises ValueError where a part is missing, or not known."""
    found = [match["name"] for match in _PART.finditer(text)]
    if sorted(found) != sorted(_PARTS):
        raise ValueError(f"{PAGE.name}: expected each of these parts once: {', '.join(_PARTS)}; found {found}")
    return _PART.sub(lambda match: f"{match[1]}\n{_PARTS[match['name']]()}\n{match[3]}", text)
