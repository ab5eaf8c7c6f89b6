"""`docs/promises.md` names tests and benchmarks that exist, for every promise of the README and each of its figures."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from keyfleet.batch.writer import ORDERED_LOOKAHEAD_LINES
from keyfleet.config.settings import DEFAULT_LEASE_S
from keyfleet.tokens import ASSUMED_OUTPUT_TOKENS

ROOT = Path(__file__).parents[2]
PROMISES = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
CODES = ("P1", "P2", "P3", "P4", "P5", "P6")
HEADS = {"shown by", "test"}

REFERENCE = re.compile(r"`((?:tests|benchmarks)/[^`]+)`")
REFERENCES = sorted(set(REFERENCE.findall(PROMISES)))


@cache
def functions_of(path: Path) -> frozenset[str]:
    """The names of a module's functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def rows() -> list[list[str]]:
    """The cells of every row of every table, without heads and rulers."""
    lines = (line for line in PROMISES.splitlines() if line.startswith("|") and not line.startswith("|---"))
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [found for found in cells if found[-1] not in HEADS]


@pytest.mark.parametrize("reference", REFERENCES)
def test_what_is_named_there_exists(reference: str) -> None:
    name, _, function = reference.partition("::")
    path = ROOT / name
    assert path.exists()
    if function:
        assert function.startswith("test_")
        assert function in functions_of(path)


def test_every_row_names_a_test_or_a_benchmark() -> None:
    assert len(rows()) > 50
    for first, *_, last in rows():
        found = REFERENCE.findall(last)
        assert found, f"{first}: nothing shows it"
        assert all("::" in one for one in found if one.startswith("tests/")), f"{first}: no test is named"


@pytest.mark.parametrize("code", CODES)
def test_each_of_the_six_promises_has_its_rows(code: str) -> None:
    assert any(first.startswith(f"{code} ") for first, *_ in rows())


def test_the_promises_are_named_as_the_readme_names_them() -> None:
    named = re.findall(r"\| ([a-z ]+) \| ", README[README.index("## What it promises") : README.index("Known limits")])
    assert len(named) == len(CODES)
    for promise in named:
        assert any(re.match(rf"P\d {promise}", first) for first, *_ in rows()), promise


def test_the_readme_leads_there() -> None:
    assert "(docs/promises.md)" in README


def test_figures_in_the_readme_are_those_of_the_code() -> None:
    assert f"holds back at most {ORDERED_LOOKAHEAD_LINES:,} lines" in README
    assert f"({ASSUMED_OUTPUT_TOKENS} tokens until that is known)" in README
    assert f"frees its key within {DEFAULT_LEASE_S:g} seconds" in README
