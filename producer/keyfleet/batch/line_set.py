"""Sets of line numbers at one bit a line, and lists of them as short text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["LineSet", "decode_ranges", "encode_ranges"]


class LineSet:
    """A set of line numbers (from 0) that only grows, at one bit per line up to the largest number.

    One thread may add while others ask: an answer is then at most one addition old.
    """

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._bits = bytearray()
        self._count = 0
        for number in numbers:
            self.add(number)

    def add(self, number: int) -> bool:
        """Whether the number is new."""
        index, mask = number >> 3, 1 << (number & 7)
        if index >= len(self._bits):
            self._bits.extend(bytes(index + 1 - len(self._bits)))
        if self._bits[index] & mask:
            return False
        self._bits[index] |= mask
        self._count += 1
        return True

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        index = number >> 3
        return index < len(self._bits) and bool(self._bits[index] & (1 << (number & 7)))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        """The numbers, ascending."""
        for index, bits in enumerate(self._bits):
            if bits:
                yield from (index * 8 + bit for bit in range(8) if bits >> bit & 1)

    def missing(self, up_to: int) -> Iterator[int]:
        """The numbers from 1 to `up_to` that are not in the set, ascending."""
        number = 1
        while number <= up_to:
            if not number & 7 and number >> 3 < len(self._bits) and self._bits[number >> 3] == 0xFF:
                number += 8
                continue
            if number not in self:
                yield number
            number += 1


def encode_ranges(numbers: Iterable[int]) -> str:
    """`[1, 2, 3, 7, 5]` as `"1-3,7,5"`: the order is kept."""
    parts: list[str] = []
    first = last = None
    for number in numbers:
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None:
            parts.append(str(first) if first == last else f"{first}-{last}")
        first = last = number
    if first is not None:
        parts.append(str(first) if first == last else f"{first}-{last}")
    return ",".join(parts)


def decode_ranges(text: str) -> Iterator[int]:
    """The numbers of `encode_ranges`, in their order. Raises ValueError on anything else."""
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
