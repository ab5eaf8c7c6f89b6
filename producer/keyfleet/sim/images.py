"""Answers of the images endpoint: a PNG of one pixel for each image asked for."""

from __future__ import annotations

import base64
import struct
import time
from hashlib import sha256
from typing import Any
from zlib import compress, crc32

from keyfleet.sim.image_models import is_dall_e
from keyfleet.sim.prompts import ECHO_CHARACTERS, Asked

__all__ = ["images_document"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ONE_PIXEL = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
"""Width, height, bits per channel, red-green-blue, and the only methods that there are."""


def images_document(asked: Asked, filler: str) -> dict[str, Any]:
    """The answer with all images.

    An image's text chunk holds the first `ECHO_CHARACTERS` of the prompt and the filler, and its colour depends on
    prompt and place, so that a test can match the two. An address leads nowhere.
    """
    prompt = asked.prompts[0]
    data = [_image(prompt, index, asked, filler) for index in range(asked.choices)]
    document: dict[str, Any] = {"created": int(time.time()), "data": data}
    if not is_dall_e(asked.model):
        document["usage"] = _usage(asked)
    return document


def _image(prompt: str, index: int, asked: Asked, filler: str) -> dict[str, Any]:
    digest = sha256(f"{index} {prompt}".encode("utf-8", "surrogatepass"))
    if asked.as_url:
        image = {"url": f"https://images.invalid/sim-{digest.hexdigest()[:24]}.png"}
    else:
        text = f"{prompt[:ECHO_CHARACTERS]} {filler}" if filler else prompt[:ECHO_CHARACTERS]
        image = {"b64_json": base64.b64encode(_png(digest.digest()[:3], text)).decode()}
    if asked.model.startswith("dall-e-3"):
        image["revised_prompt"] = prompt
    return image


def _png(colour: bytes, text: str) -> bytes:
    comment = b"Description\x00\x00\x00\x00\x00" + text.encode("utf-8", "replace")
    pixel = compress(b"\x00" + colour)
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))
        for kind, data in ((b"IHDR", _ONE_PIXEL), (b"iTXt", comment), (b"IDAT", pixel), (b"IEND", b""))
    )


def _usage(asked: Asked) -> dict[str, Any]:
    output_tokens = asked.allowed_tokens * asked.choices
    return {
        "input_tokens": asked.prompt_tokens,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": asked.prompt_tokens},
        "output_tokens": output_tokens,
        "total_tokens": asked.prompt_tokens + output_tokens,
    }
