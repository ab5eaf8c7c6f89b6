"""A count of tokens without any rank file: never below the true one on ordinary text, in any language.

The text is cut into pieces as the tokenisers cut it (words, digits by three, runs of one punctuation mark, white
space), and every piece is given the most that it costs in cl100k_base or o200k_base, whichever is dearer:

- a word or a run of marks that is one token in both (some eight thousand are listed in `data/`): 1; with a common
  English ending: 2;
- any other word of n ASCII letters: n/2, rounded up (2n/3 in capitals), and more where it isn't pronounceable. Of
  900,000 ordinary words in 27 languages, fewer than one in 50,000 is above that, and by no more than one token;
- a Cyrillic word: four fifths of its characters' costs, plus 1; all of them where it has letters as only Kazakh,
  Mongolian and others have, of whose words the encodings know few;
- any other character: what it costs by itself, 1 if it is listed, else the worst of its block of 64 code points.

One token is added for every `SLICE_CHARS` characters, for the rare word that is worse than its bound. Known weakness:
text made to be dear (a rare word over and over, random consonants) can cost more than the estimate; only the number
of UTF-8 bytes, which the estimate never exceeds, bounds that.
"""

from __future__ import annotations

import re
from itertools import groupby
from string import punctuation

from keyfleet.tokens.vocabulary import CharacterCosts, listed

__all__ = ["SLICE_CHARS", "estimate_tokens"]

SLICE_CHARS = 16_384
"""Characters that are cut into pieces at a time, so that a long text needs no long list."""

PIECE_CHARS = 64
"""The longest piece, so that a run of one character stays cheap to match and to remember."""

REMEMBERED_PIECES = 50_000
"""Pieces whose cost is kept; beyond that the memory starts anew, so that it never grows with a job."""

_PIECES = re.compile(
    rf"""
      '(?:[sdmt]|ll|re|ve)(?![A-Za-z])
    | [ ]?[A-Z]{{0,{PIECE_CHARS}}}[a-z]{{1,{PIECE_CHARS}}}
    | [ ]?[A-Z]{{1,{PIECE_CHARS}}}
    | [0-9]{{1,63}}
    | [ ]?[!-/:-@\[-`{{-~]{{1,{PIECE_CHARS}}}
    | \n{{1,{PIECE_CHARS}}}
    | [ ]{{1,{PIECE_CHARS}}}(?=[ ])
    | \t{{1,{PIECE_CHARS}}}
    | [ ]?[\u0400-\u04ff]{{1,{PIECE_CHARS}}}
    | [^\x00-\x7f\u0400-\u04ff]{{1,{PIECE_CHARS}}}
    | .
    """,
    re.VERBOSE | re.DOTALL,
)

_ENDINGS = ("s", "ed", "ing", "ly")
_SHORTEST_STEM_CHARS = 4
_LONG_WORD_CHARS = 12
"""Longer words (compounds of Finnish, Icelandic, Serbian) may cost one token more than one for two letters."""

_HARSH = re.compile(
    "[b-df-hj-np-tv-xz]{3}|[fghjkqvwxyz]j|[gkjmqrvwxz]z|[bgknvwx]q|[hjoquwxyz]v|[xz]g|[jq]w|[jo]x|[gqxz]k|jy|qo|lq|tj|tq"
    "|rj|xh|xu|zr|wq|yq|yf|zq|fz|oq|uhu"
)
"""Letters that don't go together in words: each such place costs half a token more. It is what tells keys, names of
variables and random letters from words."""

_FURTHER_CYRILLIC = re.compile("[\u0460-\u048f\u0492-\u04ff]")
"""Letters that no Slavic language uses today; U+0490 and U+0491 are Ukrainian."""

_MARKS = frozenset(punctuation)
_DRAWN_MARKS = frozenset("#*-./=_")
"""Marks that text draws lines with: both encodings hold runs of them as single tokens."""


class _PieceCosts(dict[str, int]):
    """The cost in tokens of a piece, computed at its first use."""

    def __init__(self) -> None:
        super().__init__()
        self._alone = listed("words_one_token.txt")
        self._after_space = listed("words_one_token_after_space.txt")
        self._marks_alone = listed("marks_one_token.txt")
        self._marks_after_space = listed("marks_one_token_after_space.txt")
        self._characters = CharacterCosts()

    def __missing__(self, piece: str) -> int:
        if len(self) >= REMEMBERED_PIECES:
            self.clear()
        cost = self[piece] = self._cost_tokens(piece)
        return cost

    def _cost_tokens(self, piece: str) -> int:
        body = piece[1:] if piece[0] == " " else piece
        first = body[:1]
        if "a" <= first <= "z" or "A" <= first <= "Z":
            return self._word_tokens(piece, body)
        if first in _MARKS:
            return self._marks_tokens(piece, body)
        if first.isascii():
            return _spaces_or_digits_tokens(body)
        if "\u0400" <= first <= "\u04ff":
            return self._cyrillic_tokens(piece, body)
        return sum(map(self._characters.__getitem__, piece))

    def _is_one_token(self, piece: str, word: str) -> bool:
        return word in self._alone or (piece[0] == " " and word in self._after_space)

    def _word_tokens(self, piece: str, word: str) -> int:
        if self._is_one_token(piece, word):
            return 1
        chars = len(word)
        if word.isupper():
            return (2 * chars + 2) // 3
        harsh = len(_HARSH.findall(word.lower()))
        bound = (chars + harsh + 1 + word[0].isupper()) // 2 + (chars > _LONG_WORD_CHARS)
        for ending in _ENDINGS:
            stem = word[: -len(ending)]
            if word.endswith(ending) and len(stem) >= _SHORTEST_STEM_CHARS and self._is_one_token(piece, stem):
                return min(2, bound)
        return bound

    def _marks_tokens(self, piece: str, marks: str) -> int:
        if marks in (self._marks_after_space if piece[0] == " " else self._marks_alone):
            return 1
        if marks[0] == "'" and marks[1:].isalpha():
            return 1
        return sum(_run_of_marks_tokens(mark, len(list(run))) for mark, run in groupby(marks))

    def _cyrillic_tokens(self, piece: str, word: str) -> int:
        if self._is_one_token(piece, word):
            return 1
        characters = sum(map(self._characters.__getitem__, word))
        bound = characters + (piece[0] == " ")
        return bound if word.isupper() or _FURTHER_CYRILLIC.search(word) else min(bound, (4 * characters + 4) // 5 + 1)


def _run_of_marks_tokens(mark: str, count: int) -> int:
    """The cost of one punctuation mark `count` times."""
    return 1 + count // 8 if mark in _DRAWN_MARKS else (count + 1) // 2


def _spaces_or_digits_tokens(run: str) -> int:
    """The cost of ASCII digits (one token for three), of white space or of one control character."""
    if run[:1].isdigit():
        return (len(run) + 2) // 3
    return max(1, (len(run) + 7) // 8)


_costs: _PieceCosts | None = None


def estimate_tokens(text: str) -> int:
    """At least the tokens of ordinary `text` in cl100k_base and o200k_base; at most its UTF-8 bytes; linear."""
    global _costs  # noqa: PLW0603 - the word lists are read at the first estimate, which most processes never make
    if _costs is None:
        _costs = _PieceCosts()
    cost_of = _costs.__getitem__
    total = 0
    for start in range(0, len(text), SLICE_CHARS):
        total += 1 + sum(map(cost_of, _PIECES.findall(text, start, start + SLICE_CHARS)))
    if total <= len(text):
        return total
    return min(total, len(text.encode("utf-8", "surrogatepass")))
