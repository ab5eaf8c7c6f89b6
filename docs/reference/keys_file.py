"""The fields of a keys file: what each takes, as its reader says when it is given something else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path

from docs.reference.field_docs import field_docs, split_default
from docs.reference.markdown import NOTHING, as_code, quoted, table
from docs.reference.settings import WRONG, default_text, expected_of
from keyfleet.config import Environment, KeyConfig, ModelSettings, load_keys_file
from keyfleet.config.key_fields import KEY_FIELDS, OWN_FIELDS
from keyfleet.config.limit_fields import LIMIT_FIELDS
from keyfleet.config.model_fields import MODEL_FIELDS
from keyfleet.errors import KeysFileError

__all__ = ["key_fields_table", "limit_fields_table", "model_fields_table"]

_WRONG = (f'"{WRONG}"', '""', '"\u00e9"')
"""Values, as YAML has them, of which every field refuses one."""

_FOUND_NOTHING = ", and found nothing"

_ATTRIBUTES = {"as": "alias"}
"""Where a field of a model is named otherwise in `ModelSettings`."""

_WINDOWS = {"m": "minute", "d": "day"}
"""By the last letter of the short fields."""


def key_fields_table() -> str:
    """Every field of a key but the limits."""
    texts, defaults = field_docs(KeyConfig), _defaults(KeyConfig)
    rows = []
    for field in KEY_FIELDS:
        if field in LIMIT_FIELDS:
            continue
        meaning, default = split_default(texts[field])
        shown = "required" if field in OWN_FIELDS else quoted(default or defaults[field])
        rows.append((as_code(field), quoted(_expected(field)), shown, quoted(meaning)))
    return table(("field", "value", "without it", "meaning"), rows)


def limit_fields_table() -> str:
    """Every field that limits something."""
    rows = []
    for field, unit in LIMIT_FIELDS.items():
        window = "in windows of any length, one or a list" if field == unit else f"in a {_WINDOWS[field[-1]]}"
        rows.append((as_code(field), f"{unit} {window}", quoted(_expected(field))))
    return table(("field", "limits", "value"), rows)


def model_fields_table() -> str:
    """The fields of a model but the limits."""
    texts = field_docs(ModelSettings)
    rows = []
    for field in MODEL_FIELDS:
        if field not in LIMIT_FIELDS:
            meaning, default = split_default(texts[_ATTRIBUTES.get(field, field)])
            expected = _expected("models", (f'{{gpt-4o: {{{field}: "a b"}}}}',))
            rows.append((as_code(field), quoted(expected), quoted(default or NOTHING), quoted(meaning)))
    return table(("setting", "value", "without it", "meaning"), rows)


def _defaults(kind: type) -> Mapping[str, str]:
    """The fields' defaults as people write them."""
    found = ((one.name, one.default) for one in fields(kind) if one.default is not MISSING)
    return {name: default_text(name, default) for name, default in found}


def _expected(field: str, values: tuple[str, ...] = _WRONG) -> str:
    """What the reader of `field` says that it expects."""
    return next(expected_of(message).removesuffix(_FOUND_NOTHING) for message in _refusals(field, values))


def _refusals(field: str, values: tuple[str, ...]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "keys.yaml"
        for value in values:
            entries = {"name": "one", "api_key": "${KEY}", field: value}
            lines = [f"    {name}: {text}" for name, text in entries.items()]
            path.write_text("\n".join(["keys:", "  -", *lines, ""]), encoding="utf-8")
            path.chmod(0o600)  # else the reader warns of it
            try:
                load_keys_file(path, Environment({}))
            except KeysFileError as error:
                yield str(error)
    raise ValueError(f"the field {field} takes every one of {values}, so nothing says what it expects")
