"""A YAML file as nodes that know their lines, so that errors can name them.

No value is ever quoted in an error: a wrongly indented file puts a secret where a name was meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from keyfleet.errors import KeysFileError

__all__ = ["Entries", "YamlDocument"]

Entries: TypeAlias = "dict[str, tuple[Node, Node]]"
"""A mapping's nodes by key text: the key's own node, for its line, and the value's."""

_NULL_TAG = "tag:yaml.org,2002:null"
_MERGE_TAG = "tag:yaml.org,2002:merge"
_FIELD_NAME = re.compile(r"[a-z][a-z_]{0,30}")


@dataclass(frozen=True)
class YamlDocument:
    """The file at `path`; `root` is None where it holds nothing but comments."""

    path: Path
    root: Node | None

    @classmethod
    def read(cls, path: Path) -> YamlDocument:
        """Raises KeysFileError for a file that can't be read, is no UTF-8 or no YAML."""
        text, problem, line_number = "", "", None
        try:
            text = path.read_bytes().decode("utf-8-sig")
            return cls(path, yaml.compose(text, Loader=yaml.SafeLoader))
        except OSError as error:
            problem = f"can't be read: {error.strerror}"
        except UnicodeDecodeError:
            problem = "is no UTF-8 text"
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line_number = mark.line + 1 if mark else None
            problem = f"is no valid YAML here{_detail(error)}; what holds any of `{{ }} [ ] * & % @ :` may need quotes"
        except yaml.reader.ReaderError as error:
            line_number = text.count("\n", 0, error.position) + 1
            problem = "holds a character that YAML doesn't allow"
        except RecursionError:
            problem = "is nested too deeply"
        # Outside of the handlers, so that YAML's own error, which quotes the file's text, isn't chained.
        raise KeysFileError(problem, path=path, line_number=line_number)

    def error(self, node: Node, message: str) -> KeysFileError:
        """An error at the line of `node`."""
        return KeysFileError(message, path=self.path, line_number=line_number(node))

    def entries(self, node: Node, what: str) -> Entries:
        """The entries of a mapping, in order; `<<` brings in those of other mappings that it doesn't have itself.

        Raises KeysFileError if `node`, described by `what`, is no mapping, or has a key twice.
        """
        if not isinstance(node, MappingNode):
            raise self.error(node, f"{what}: expected a mapping (name: value)")
        own: Entries = {}
        merged: Entries = {}
        for key, value in node.value:
            if key.tag == _MERGE_TAG:
                for source in value.value if isinstance(value, SequenceNode) else [value]:
                    merged = {**self._merge_source(source, what), **merged}
                continue
            name = self.text(key, f"{what}: a name")
            if name in own:
                raise self.error(key, f"{what}: `{_quotable(name)}` stands here twice")
            own[name] = (key, value)
        return {**{name: entry for name, entry in merged.items() if name not in own}, **own}

    def _merge_source(self, node: Node, what: str) -> Entries:
        if isinstance(node, MappingNode) and any(key.tag == _MERGE_TAG for key, _ in node.value):
            raise self.error(node, f"{what}: `<<` in a mapping that is itself brought in by `<<` is not supported")
        return self.entries(node, what)

    def fields(self, node: Node, what: str, known: Sequence[str]) -> Entries:
        """The entries of a mapping whose names are all `known`. Raises KeysFileError that suggests the nearest one."""
        entries = self.entries(node, what)
        for name, (key, _) in entries.items():
            if name not in known:
                nearest = get_close_matches(name, known, n=1)
                hint = f"did you mean `{nearest[0]}`?" if nearest else f"expected one of {', '.join(known)}"
                raise self.error(key, f"{what}: unknown field `{_quotable(name)}`; {hint}")
        return entries

    def text(self, node: Node, what: str) -> str:
        """A scalar's text as it is written: `007` and `on` stay what they are. Raises KeysFileError."""
        if not isinstance(node, ScalarNode) or is_null(node):
            raise self.error(node, f"{what}: expected one value")
        return str(node.value)

    def items(self, node: Node) -> list[Node]:
        """A sequence's nodes; anything else counts as the one item of a list, and null as none."""
        if isinstance(node, SequenceNode):
            return list(node.value)
        return [] if is_null(node) else [node]


def _detail(error: yaml.MarkedYAMLError) -> str:
    """What YAML says is wrong, unless it quotes something."""
    return f" ({error.problem})" if error.problem and "'" not in error.problem else ""


def is_null(node: Node) -> bool:
    """Whether nothing stands there (`name:`, `name: null`, `name: ~`)."""
    return bool(node.tag == _NULL_TAG)


def line_number(node: Node) -> int:
    """The line where `node` begins, from 1."""
    return int(node.start_mark.line) + 1


def _quotable(name: str) -> str:
    """`name`, if it looks like a field of ours; else it might be a secret in the wrong place."""
    return name if _FIELD_NAME.fullmatch(name) else "…"
