"""What the estimate knows of the encodings: which words and characters are one token, and what the others cost.

The lists under `data/` are facts about tiktoken's cl100k_base and o200k_base rank files; a unit test holds them to the
real encodings where these are at hand:

- `words_one_token.txt`: words that are one token in both encodings, after a space and without one;
- `words_one_token_after_space.txt`: words of which that is true after a space only;
- `marks_one_token.txt`, `marks_one_token_after_space.txt`: the same for runs of different punctuation marks;
- `characters_one_token.txt`: characters beyond ASCII that are one token (those that can't be shown as `U+0300`);
- `character_blocks.txt`: one digit for each 64 code points from 0 to U+FFFF: the most that one of them costs.
"""

from __future__ import annotations

from importlib.resources import files

__all__ = ["CharacterCosts", "listed"]

_PICTOGRAPHS = range(0x1F000, 0x1FC00)
_MATHEMATICAL_LETTERS = range(0x1D400, 0x1D800)


def _text(name: str) -> str:
    return (files("keyfleet.tokens") / "data" / name).read_text(encoding="utf-8")


def listed(name: str) -> frozenset[str]:
    """The words or runs of marks of a list under `data/`, case kept."""
    return frozenset(_text(name).split())


class CharacterCosts(dict[str, int]):
    """The most that one character costs by itself, in tokens of either encoding."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks = [int(digit) for digit in _text("character_blocks.txt") if digit.isdigit()]
        for line in _text("characters_one_token.txt").splitlines():
            names = line.split() if line.startswith("U+") else ()
            self.update(dict.fromkeys((chr(int(name[2:], 16)) for name in names) if names else line, 1))

    def __missing__(self, character: str) -> int:
        point = ord(character)
        if point <= 0xFFFF:
            return self._blocks[point >> 6]
        return 3 if point in _PICTOGRAPHS or point in _MATHEMATICAL_LETTERS else 4
