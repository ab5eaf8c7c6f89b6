"""Structured outputs: the smallest JSON document that a schema allows."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["document_for_schema"]

_MOST_LEVELS = 20
"""A schema that refers to itself ends here."""


def document_for_schema(schema: Any, text: str) -> str:
    """A JSON text that fits `schema`, in which every string that is left open is `text`."""
    return json.dumps(_value(schema, text, schema, 0))


def _value(schema: Any, text: str, root: Any, level: int) -> Any:
    schema = _resolved(schema, root) if isinstance(schema, dict) else {}
    if level > _MOST_LEVELS:
        return None
    for choices in ("enum", "anyOf", "oneOf", "allOf"):
        if schema.get(choices):
            first = schema[choices][0]
            return first if choices == "enum" else _value(first, text, root, level + 1)
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        fields = schema.get("properties", {})
        return {name: _value(field, text, root, level + 1) for name, field in fields.items()}
    if kind == "array":
        return [_value(schema.get("items"), text, root, level + 1)]
    plain: dict[str, Any] = {"integer": 1, "number": 1.5, "boolean": True, "null": None}
    return plain.get(kind, text)


def _resolved(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    """The schema that a `$ref` within the document (`#/$defs/Name`) stands for."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(name, {}) if name and isinstance(found, dict) else found
    return found if isinstance(found, dict) else {}
