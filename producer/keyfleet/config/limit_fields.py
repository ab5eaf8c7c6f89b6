"""The fields of a keys file that hold limits: in the notation of the `limits` library, and in the short one."""

from __future__ import annotations

from collections.abc import Mapping

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from yaml.nodes import Node

from keyfleet.config.model_limits import UNITS, ModelLimits, Unit, parse_limits
from keyfleet.config.notation import parse_amount
from keyfleet.config.yaml_document import Entries, YamlDocument, is_null

__all__ = ["LIMIT_FIELDS", "over_defaults", "read_limit", "read_limits"]

LIMIT_FIELDS: Mapping[str, Unit] = {
    "requests": "requests",
    "tokens": "tokens",
    "images": "images",
    "rpm": "requests",
    "tpm": "tokens",
    "ipm": "images",
    "rpd": "requests",
    "tpd": "tokens",
    "ipd": "images",
}
"""What each field limits."""

_SHORT_FIELDS: Mapping[str, type[RateLimitItem]] = {
    "rpm": RateLimitItemPerMinute,
    "tpm": RateLimitItemPerMinute,
    "ipm": RateLimitItemPerMinute,
    "rpd": RateLimitItemPerDay,
    "tpd": RateLimitItemPerDay,
    "ipd": RateLimitItemPerDay,
}


def read_limit(document: YamlDocument, field: str, node: Node) -> tuple[RateLimitItem, ...]:
    """What one field says: `rpm: 500`, `tpm: 450k`, `requests: 500/minute` or a list of such.

    Raises KeysFileError with the line.
    """
    items: list[RateLimitItem] = []
    for part in [node] if field in _SHORT_FIELDS else document.items(node):
        text = document.text(part, f"`{field}`")
        try:
            found = (_SHORT_FIELDS[field](parse_amount(text)),) if field in _SHORT_FIELDS else parse_limits([text])
            windows_s = [item.get_expiry() for item in items]
            for item in found:
                if item.get_expiry() in windows_s:
                    raise ValueError(f"two limits for the same window of {item.get_expiry()} s; expected one")
        except ValueError as error:
            raise document.error(part, f"`{field}`: {error}") from None
        items.extend(found)
    return tuple(items)


def read_limits(document: YamlDocument, entries: Entries) -> ModelLimits:
    """What the fields of limits among `entries` say together. Raises KeysFileError with the line."""
    limits: dict[Unit, tuple[RateLimitItem, ...]] = dict.fromkeys(UNITS, ())
    sources: dict[tuple[Unit, int], str] = {}
    for field, (key_node, node) in entries.items():
        if field not in LIMIT_FIELDS or is_null(node):
            continue
        unit = LIMIT_FIELDS[field]
        found = read_limit(document, field, node)
        for item in found:
            window_s = item.get_expiry()
            other = sources.setdefault((unit, window_s), field)
            if other != field:
                problem = f"`{field}` and `{other}` both limit the {unit} per {window_s} s; expected one of them"
                raise document.error(key_node, problem)
        limits[unit] += found
    return ModelLimits(**limits)


def over_defaults(own: Entries, defaults: Entries) -> Entries:
    """`own` and what it leaves of `defaults`; any field that limits a unit replaces all that limit it there."""
    units = {LIMIT_FIELDS[field] for field in own if field in LIMIT_FIELDS}
    kept = {field: entry for field, entry in defaults.items() if LIMIT_FIELDS.get(field) not in units}
    return {**kept, **own}
