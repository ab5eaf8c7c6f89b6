"""The pages lead to files and headings that exist, and speak of commands and options that there are."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from keyfleet.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/*.md")),
    ROOT / "benchmarks" / "README.md",
    *sorted(ROOT.glob("deploy/**/README.md")),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

LINK = re.compile(r"\]\((?!https?://)([^)\s]+)\)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z_-]*")

TOUR_WORDS = 1200
"""Two pages."""


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the first of `words` name, and the words behind it."""
    command: click.Command = cli
    while words and isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            break
        command, words = found, words[1:]
    return command, words


def commands_in(page: Path) -> list[str]:
    """What stands in backticks, or on a line of a block of code, and begins with `keyfleet`."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [
        line for block in re.findall(r"^```\w*\n(.*?)```", text, re.DOTALL | re.MULTILINE) for line in block.split("\n")
    ]
    inline = re.findall(r"`(keyfleet [^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    return [*(" ".join(one.split()) for one in inline), *(line for line in lines if line.startswith("keyfleet "))]


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    page = ROOT / name
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_option_that_is_named_exists(name: str) -> None:
    for line in commands_in(ROOT / name):
        words = line.partition("#")[0].split()[1:]
        command, rest = command_of(words)
        if command is cli:
            assert not rest or rest[0].startswith(("-", "COMMAND")), f"there is no command as in `{line}`"
            continue
        known = {opt for one in command.params for opt in (*one.opts, *one.secondary_opts)} | {"--help"}
        assert set(OPTION.findall(" ".join(rest))) - known == set(), f"no such option: `{line}`"


def test_the_tour_is_two_pages_long() -> None:
    text = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    assert len(re.sub(r"```.*?```|\]\([^)]*\)", "", text, flags=re.DOTALL).split()) <= TOUR_WORDS


def test_each_step_of_the_tour_leads_to_the_file_that_does_it() -> None:
    text = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    steps = re.findall(r"^\d\. \*\*\w+\.\*\*.*?(?=^\d\. |^\n|\Z)", text, re.DOTALL | re.MULTILINE)
    drawn = re.findall(r"-- (\d) (\w+) -->", text)
    assert len(steps) == len({number for number, _ in drawn}) == 8
    assert [step[:2] for step in steps if not LINK.search(step)] == []
