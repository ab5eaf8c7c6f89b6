"""Reads a `.env` file as python-dotenv does, but with warnings that name file and line and never show a value."""

from __future__ import annotations

import io
import logging
from collections import ChainMap
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream
from dotenv.variables import parse_variables

__all__ = ["read_dotenv"]

logger = logging.getLogger(__name__)


def read_dotenv(path: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of the `.env` file at `path`; empty where there is none.

    `${NAME}` in a value stands for a variable of `environ`, else of an earlier line, as in python-dotenv. A file or
    line that can't be read gives one warning each and is passed over: a stray `.env` must not stop a command.
    """
    values: dict[str, str] = {}
    known = ChainMap(dict(environ), values)
    for binding in _bindings(path):
        if binding.error or (binding.key is not None and binding.value is None):
            line_number = binding.original.line + _leading_newlines(binding.original.string)
            logger.warning("%s, line %d: passed over: expected NAME=value", path, line_number)
        elif binding.key is not None and binding.value is not None:
            values[binding.key] = "".join(atom.resolve(known) for atom in parse_variables(binding.value))
    return values


def _bindings(path: Path) -> Iterator[Binding]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return iter(())
    except OSError as error:
        logger.warning("%s: passed over: %s", path, error.strerror)
        return iter(())
    except UnicodeDecodeError:
        logger.warning("%s: passed over: it is no UTF-8 text", path)
        return iter(())
    return parse_stream(io.StringIO(text))


def _leading_newlines(statement: str) -> int:
    """Blank lines above a statement belong to it, for python-dotenv; people count from the statement itself."""
    return statement[: len(statement) - len(statement.lstrip())].count("\n")
