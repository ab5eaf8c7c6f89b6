"""The width and height of an image inside a request, read from the first bytes of its base64, never from all of it."""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass, field

__all__ = ["Base64Data", "base64_of_data_url", "image_size"]

_DATA_URL_HEAD_CHARS = 256
"""Where the comma of a data URL must have come."""

_JPEG_MAX_SEGMENTS = 256
"""Segments that are skipped in search of a JPEG's frame header; real files have some ten."""

_JPEG_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Base64Data:
    """Base64 inside a longer text, from the index `start`; any stretch of its bytes is decoded by itself."""

    text: str = field(repr=False)
    start: int = 0

    @property
    def size_bytes(self) -> int:
        """The decoded size, to within two bytes."""
        return (len(self.text) - self.start) * 3 // 4

    def read(self, offset_bytes: int, count_bytes: int) -> bytes:
        """Up to `count_bytes` from an offset. Raises ValueError where the text is no base64 there."""
        first, last = offset_bytes // 3, (offset_bytes + count_bytes + 2) // 3
        stretch = self.text[self.start + first * 4 : self.start + last * 4].rstrip("=")
        try:
            decoded = base64.b64decode(stretch + "=" * (-len(stretch) % 4), validate=True)
        except binascii.Error as error:
            raise ValueError("no base64") from error
        skipped = offset_bytes - first * 3
        return decoded[skipped : skipped + count_bytes]


def base64_of_data_url(url: str) -> tuple[str, Base64Data] | None:
    """The media type and the data of `data:<type>;base64,<data>`, or None for any other address."""
    if url[:5].lower() != "data:":
        return None
    comma = url.find(",", 5, _DATA_URL_HEAD_CHARS)
    if comma == -1 or not url[5:comma].lower().endswith(";base64"):
        return None
    return url[5:comma].split(";", 1)[0].lower(), Base64Data(url, comma + 1)


def image_size(data: Base64Data) -> tuple[int, int] | None:
    """(width, height) in pixels of a PNG, JPEG, GIF or WebP, or None where the data doesn't tell."""
    try:
        head = data.read(0, 30)
        size = _jpeg_size(data) if head[:3] == b"\xff\xd8\xff" else _size_in_head(head)
    except (ValueError, struct.error, IndexError):
        return None
    return size if size and min(size) > 0 else None


def _size_in_head(head: bytes) -> tuple[int, int] | None:
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if head[:6] in (b"GIF87a", b"GIF89a"):
        width, height = struct.unpack("<HH", head[6:10])
        return width, height
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp_size(head)
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """By RFC 9649: the lossy (VP8), lossless (VP8L) and extended (VP8X) header."""
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack("<I", head[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


def _jpeg_size(data: Base64Data) -> tuple[int, int] | None:
    """Hop from segment to segment (each tells its length) to the frame header, decoding nine bytes of each."""
    offset_bytes = 2
    for _ in range(_JPEG_MAX_SEGMENTS):
        segment = data.read(offset_bytes, 9)
        if segment[0] != 0xFF:
            return None
        if segment[1] == 0xFF:  # a fill byte
            offset_bytes += 1
        elif segment[1] in _JPEG_FRAME_HEADERS:
            height, width = struct.unpack(">HH", segment[5:9])
            return width, height
        else:
            offset_bytes += 2 + int.from_bytes(segment[2:4], "big")
    return None
