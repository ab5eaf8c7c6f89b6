"""What the source says under the fields of a class."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from itertools import pairwise

__all__ = ["field_docs", "split_default"]

_DEFAULT = re.compile(r"(?: \(default: (?P<within>[^()]+)\)|; default: (?P<behind>[^.;]+)(?=\.))")


def field_docs(kind: type) -> dict[str, str]:
    """The text that stands as a docstring under each field of `kind`; fields without one are left out."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    if not isinstance(definition, ast.ClassDef):
        raise TypeError(f"{kind.__name__}: expected a class")
    found = {}
    for field, text in pairwise(definition.body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def split_default(text: str) -> tuple[str, str | None]:
    """A text and the default that it names as `(default: …)` or `; default: ….`; None where it names none."""
    match = _DEFAULT.search(text)
    if match is None:
        return text, None
    return text[: match.start()] + text[match.end() :], match["within"] or match["behind"]
