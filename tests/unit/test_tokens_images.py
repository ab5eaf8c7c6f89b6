"""Images: the published rules, and sizes read from the first bytes."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet.tokens.image_size import Base64Data, base64_of_data_url, image_size
from keyfleet.tokens.images import image_tokens


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02" + bytes(40)


def jpeg(width: int, height: int, *, before_bytes: int = 0) -> bytes:
    """A JPEG whose frame header stands behind segments of metadata, as from a camera."""
    segments = b""
    while before_bytes > 0:
        size = min(before_bytes, 65_000)
        segments += b"\xff\xe1" + struct.pack(">H", size + 2) + bytes(size)
        before_bytes -= size
    frame = b"\xff\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width) + bytes(30)
    return b"\xff\xd8" + (segments or b"\xff\xe0\x00\x04ab") + frame


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + bytes(30)


def webp(kind: bytes, payload: bytes) -> bytes:
    return b"RIFF\x00\x00\x00\x00WEBP" + kind + b"\x00\x00\x00\x00" + payload + bytes(30)


def lossy_webp(width: int, height: int) -> bytes:
    return webp(b"VP8 ", b"\x00\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width, height))


def lossless_webp(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14))


def extended_webp(width: int, height: int) -> bytes:
    return webp(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


def encoded(data: bytes) -> Base64Data:
    return Base64Data(base64.b64encode(data).decode())


@pytest.mark.parametrize("make", [png, jpeg, gif, lossy_webp, lossless_webp, extended_webp])
def test_the_size_is_read_from_the_header(make: object) -> None:
    assert callable(make)
    assert image_size(encoded(make(1234, 567))) == (1234, 567)


def test_the_size_of_a_jpeg_is_found_behind_much_metadata() -> None:
    assert image_size(encoded(jpeg(4000, 3000, before_bytes=1_000_000))) == (4000, 3000)


def test_only_the_first_bytes_are_decoded() -> None:
    head = base64.b64encode(png(640, 480)).decode()
    assert image_size(Base64Data(head + "*" * 1_000_000)) == (640, 480)


@pytest.mark.parametrize(
    "data",
    [
        encoded(b""),
        encoded(b"\x89PNG\r\n\x1a\n"),
        encoded(b"\xff\xd8\xff\xe0\xff\xff"),
        encoded(b"\xff\xd8" + b"\xff\xe0\x00\x02" * 1_000),
        encoded(b"BM and some other kind of picture"),
        encoded(png(0, 10)),
        Base64Data("no base64 at all, äöü"),
    ],
)
def test_data_that_does_not_tell_its_size_has_none(data: Base64Data) -> None:
    assert image_size(data) is None


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF0000WEBPVP8 "]))
def test_reading_a_size_never_raises(data: bytes, head: bytes) -> None:
    size = image_size(encoded(head + data))
    assert size is None or min(size) > 0


@given(st.binary(min_size=1, max_size=100), st.integers(0, 110), st.integers(1, 50))
def test_any_stretch_of_base64_is_decoded_by_itself(data: bytes, offset: int, count: int) -> None:
    assert encoded(data).read(offset, count) == data[offset : offset + count]


def test_a_data_url_is_told_from_other_addresses() -> None:
    found = base64_of_data_url("data:image/PNG;base64,QUJD")
    assert found is not None
    assert found[0] == "image/png"
    assert found[1].read(0, 3) == b"ABC"
    for other in ("https://example.org/a.png", "data:image/svg+xml,%3Csvg", "data:no comma", "data: just a word, too"):
        assert base64_of_data_url(other) is None


@pytest.mark.parametrize(
    ("model", "detail", "width", "height", "tokens"),
    [
        ("gpt-4o", "high", 1024, 1024, 765),
        ("gpt-4o", "high", 2048, 4096, 1105),
        ("gpt-4o", "low", 4096, 8192, 85),
        ("gpt-4o", None, 150, 150, 255),
        ("gpt-4o-mini", "high", 1024, 1024, 2833 + 4 * 5667),
        ("gpt-4o-mini", "low", 1024, 1024, 2833),
        ("chatgpt-4o-latest", "high", 512, 512, 255),
        ("gpt-4.1", "auto", 512, 512, 255),
        ("gpt-4.5-preview", "high", 513, 512, 425),
        ("o1", "high", 512, 512, 225),
        ("o3", "low", 512, 512, 75),
        ("gpt-5", "high", 512, 512, 210),
        ("gpt-5-2025-08-07", "low", 512, 512, 70),
        ("gpt-5-chat-latest", "high", 512, 512, 210),
        ("gpt-5.1", "high", 512, 512, 210),
        ("computer-use-preview", "high", 512, 512, 194),
        ("gpt-4.1-mini", "high", 1024, 1024, 1659),
        ("gpt-4.1-mini", "low", 1800, 2400, 2353),
        ("gpt-4.1-nano", "high", 1024, 1024, 2520),
        ("o4-mini", "high", 1024, 1024, 1762),
        ("gpt-5-mini", "high", 1800, 2400, 2353),
        ("gpt-5-nano-2025-08-07", "high", 32, 32, 3),
        ("gpt-5.1-codex-mini", "high", 1024, 1024, 1659),
        ("gpt-5.2", "high", 1024, 1024, 1229),
        ("gpt-5.4", "original", 3200, 3200, 12_000),
        ("gpt-5.6", "auto", 3200, 3200, 12_000),
        ("claude-sonnet-4-5", None, 280, 280, 100),
        ("openai/gpt-4o-mini", "low", 9, 9, 2833),
        ("ft:gpt-4o-mini-2024-07-18:acme", "low", 9, 9, 2833),
        ("some-other-model", "high", 1024, 1024, 765),
    ],
)
def test_an_image_costs_what_its_models_provider_publishes(
    model: str, detail: str | None, width: int, height: int, tokens: int
) -> None:
    assert image_tokens(model, detail, width, height) == tokens


MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1-mini", "o3", "gpt-5", "gpt-5.2", "gpt-5.4", "gpt-5.6", "claude-3")


@given(
    model=st.sampled_from(MODELS),
    detail=st.sampled_from(("low", "high", "auto", "original", None, "odd")),
    width=st.integers(1, 200_000),
    height=st.integers(1, 200_000),
)
def test_no_image_costs_more_than_one_of_unknown_size(model: str, detail: str | None, width: int, height: int) -> None:
    assert 0 < image_tokens(model, detail, width, height) <= image_tokens(model, detail, None, None)


@pytest.mark.parametrize("size", [(0, 0), (-1, 5), (None, 5)])
def test_an_impossible_size_counts_as_unknown(size: tuple[int | None, int | None]) -> None:
    assert image_tokens("gpt-4o", "high", *size) == image_tokens("gpt-4o", "high", None, None) == 85 + 8 * 170
