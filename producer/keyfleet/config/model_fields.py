"""What stands under `models` and `groups` in the keys file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import pairwise

from yaml.nodes import MappingNode, Node, ScalarNode

from keyfleet.config.limit_fields import LIMIT_FIELDS, read_limits
from keyfleet.config.model_settings import GroupSettings, ModelSettings
from keyfleet.config.yaml_document import Entries, YamlDocument, is_null, line_number

__all__ = ["check_limits_stand_apart", "check_used_groups", "read_group", "read_models"]

MODEL_FIELDS = (*LIMIT_FIELDS, "as", "family")
GROUP_MODEL_FIELDS = (*LIMIT_FIELDS, "family")
"""A model's name at the provider may differ between the keys of a group."""

GROUP_FIELDS = ("models", *LIMIT_FIELDS)

_LONGEST_NAME_CHARACTERS = 200


def read_models(
    document: YamlDocument, node: Node, *, known: tuple[str, ...] = MODEL_FIELDS
) -> dict[str, ModelSettings]:
    """A mapping of names and patterns to their settings, or only a list of them, whose limits are learned.

    Names with commas between them (`gpt-4o, gpt-4o-2024-08-06: {rpm: 500}`) share one pool, that of the family
    named by the first. Raises KeysFileError with the line.
    """
    if not isinstance(node, MappingNode):
        return dict.fromkeys((_listed_name(document, item) for item in document.items(node)), ModelSettings())
    _check_commas(document, node)
    entries: list[_Entry] = []
    for text, (key_node, value) in document.entries(node, "`models`").items():
        settings = _settings(document, value, known)
        names = _names(document, key_node, text)
        if len(names) > 1 and settings.family is None:
            settings = replace(settings, family=names[0])
        entries += [_Entry(name, settings, key_node) for name in names]
    _check_names_differ(document, entries)
    return {entry.name: entry.settings for entry in _with_family_limits(document, entries)}


def read_group(document: YamlDocument, name: str, node: Node) -> GroupSettings:
    """What `groups` says of one group. Raises KeysFileError with the line."""
    if is_null(node):
        return GroupSettings()
    entries = document.fields(node, f"group {name}", GROUP_FIELDS)
    check_limits_stand_apart(document, entries)
    models: dict[str, ModelSettings] = {}
    if "models" in entries and not is_null(entries["models"][1]):
        models = read_models(document, entries["models"][1], known=GROUP_MODEL_FIELDS)
    return GroupSettings(models, read_limits(document, entries) or None)


def check_limits_stand_apart(document: YamlDocument, entries: Entries) -> None:
    """Limits beside `models` could mean two things, so they are refused. Raises KeysFileError with the line."""
    for field in LIMIT_FIELDS:
        if "models" in entries and field in entries:
            raise document.error(entries[field][0], f"`{field}` beside `models`; expected the limits at each model")


def check_used_groups(document: YamlDocument, groups: Entries, used: Iterable[str]) -> None:
    """Raises KeysFileError for a group that no key is in: it is most likely misspelt, and its limits hold nobody."""
    names = sorted(set(used))
    for name, (key_node, _) in groups.items():
        if name not in names:
            nearest = get_close_matches(name, names, n=1)
            hint = f"did you mean `{nearest[0]}`?" if nearest else f"expected one of {', '.join(names) or 'none'}"
            raise document.error(key_node, f"`groups`: no key has `group: {name}`; {hint}")


@dataclass(frozen=True)
class _Entry:
    """One name with its settings, and the node that its line comes from."""

    name: str
    settings: ModelSettings
    node: Node

    @property
    def pool(self) -> str:
        return self.settings.family or self.name


def _settings(document: YamlDocument, node: Node, known: tuple[str, ...]) -> ModelSettings:
    if is_null(node):
        return ModelSettings()
    if isinstance(node, ScalarNode):
        raise document.error(node, "limits of a model: expected for example {requests: 500/minute}")
    fields = document.fields(node, "limits of a model", known)
    return ModelSettings(
        limits=read_limits(document, fields),
        alias=_model_name(document, fields, "as"),
        family=_model_name(document, fields, "family"),
    )


def _model_name(document: YamlDocument, fields: Entries, field: str) -> str | None:
    if field not in fields or is_null(fields[field][1]):
        return None
    text = document.text(fields[field][1], f"`{field}`").strip()
    if not _is_name(text) or set(text) & set("*?,"):
        raise document.error(fields[field][1], f"`{field}`: expected a name without blanks, commas and wildcards")
    return text


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME_CHARACTERS and text.isprintable() and " " not in text


def _names(document: YamlDocument, key_node: Node, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not all(_is_name(name) for name in names):
        raise document.error(key_node, "`models`: expected a model's name or pattern, or several with commas between")
    return names


def _listed_name(document: YamlDocument, item: Node) -> str:
    names = _names(document, item, document.text(item, "`models`"))
    if len(names) > 1:
        raise document.error(item, "`models`: expected one name; write several as a list: [a, b]")
    return names[0]


def _check_commas(document: YamlDocument, node: MappingNode) -> None:
    """Between braces YAML ends an entry at a comma: `{a, b: {rpm: 5}}` would leave `a` without the limit."""
    for (key_node, value), (_, next_value) in pairwise(node.value):
        has_no_colon = is_null(value) and value.start_mark.index == key_node.end_mark.index
        if has_no_colon and not is_null(next_value):
            message = "`models`: a name without `:` before one with settings; between { } put names that share a limit "
            raise document.error(key_node, message + 'in quotes ("a, b": …)')


def _check_names_differ(document: YamlDocument, entries: list[_Entry]) -> None:
    first_lines: dict[str, int] = {}
    for entry in entries:
        if entry.name in first_lines:
            message = f"`models`: one of these names stands already in line {first_lines[entry.name]}"
            raise document.error(entry.node, message)
        first_lines[entry.name] = line_number(entry.node)


def _with_family_limits(document: YamlDocument, entries: list[_Entry]) -> list[_Entry]:
    """The entries, all those of one family with the limits that the file gives at any of them."""
    families = {entry.settings.family for entry in entries} - {None}
    found: dict[str, _Entry] = {}
    for entry in entries:
        if entry.pool in families and entry.settings.limits:
            first = found.setdefault(entry.pool, entry)
            if first.settings.limits != entry.settings.limits:
                message = (
                    f"`models`: the limits differ from those in line {line_number(first.node)}, though both models "
                    "are of one family; expected the same limits, or limits at one of them"
                )
                raise document.error(entry.node, message)
    return [
        replace(entry, settings=replace(entry.settings, limits=found[entry.pool].settings.limits))
        if entry.pool in found
        else entry
        for entry in entries
    ]
