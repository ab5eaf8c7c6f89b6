"""What the parts of a prompt cost: text, images, sound, files, and any other JSON.

Base64 is never counted as text, and never decoded as a whole. Nothing here raises for an odd shape, however deep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keyfleet.tokens.counting import TextCounter
from keyfleet.tokens.image_size import Base64Data, base64_of_data_url, image_size
from keyfleet.tokens.images import image_tokens

__all__ = ["ContentCounter"]

AUDIO_BYTES_PER_TOKEN = 400
"""OpenAI counts a user's sound as 1 token per 100 ms (its Realtime guide); that is 400 bytes at 32 kbit/s, a low rate
for speech, so that the usual ones are counted on the high side."""

WAV_BYTES_PER_TOKEN = 1_600
"""The same for uncompressed sound of 8,000 samples a second with 16 bits each, the lowest usual rate."""

FILE_BYTES_PER_TOKEN = 32
"""An estimate for PDF and office files: a page of about 50 KB gives some 800 tokens of text and 800 of its picture."""

TEXT_FILE_BYTES_PER_TOKEN = 3
"""An estimate for a file of plain text: English has four bytes to a token, other languages and tables fewer."""

UNSEEN_FILE_TOKENS = 2_000
"""An estimate for a file or sound that the provider holds, named by its id or address: a page or two."""

_IMAGE_PARTS = frozenset({"image_url", "input_image", "image"})
_FILE_PARTS = frozenset({"file", "input_file", "document"})
_TEXT_PARTS = frozenset({"text", "input_text", "output_text", "refusal"})


@dataclass(frozen=True, slots=True)
class ContentCounter:
    """Counts what a prompt is made of, text by `counter`, images by the rule of `model`."""

    counter: TextCounter
    model: str

    def text(self, value: Any) -> int:
        """The tokens of a string; of anything else those of its JSON text, and none of null."""
        if isinstance(value, str):
            return self.counter.count_text(value)
        return 0 if value is None else self.json(value)

    def json(self, value: Any) -> int:
        """The tokens of a value's JSON text (its members in any order), data URLs in it by what they hold."""
        words: list[str] = []
        tokens = 0
        stack = [value]
        while stack:
            item = stack.pop()
            if isinstance(item, dict):
                words.append("{" + ",".join(f'"{name}":' for name in item) + "}")
                stack.extend(item.values())
            elif isinstance(item, list):
                words.append("[" + "," * (len(item) - 1) + "]")
                stack.extend(item)
            elif isinstance(item, str) and item[:5].lower() == "data:":
                tokens += self._data_url(item)
            else:
                words.append(f'"{item}"' if isinstance(item, str) else _scalar(item))
        return tokens + self.counter.count_text(" ".join(words))

    def content(self, value: Any) -> int:
        """A message's content: a string, or a list of parts."""
        if not isinstance(value, list):
            return self.text(value)
        return sum(self.part(part) for part in value)

    def part(self, part: Any) -> int:
        """One part of a content, in the form of Chat Completions, of Responses or of Anthropic's Messages."""
        if not isinstance(part, dict):
            return self.text(part)
        kind = part.get("type")
        if not isinstance(kind, str):
            return self.json(part)
        if kind in _TEXT_PARTS:
            return self.text(part.get("text", part.get("refusal")))
        if kind in _IMAGE_PARTS:
            return self._image_part(part)
        if kind == "input_audio":
            return self._audio(part.get("input_audio", part))
        if kind in _FILE_PARTS:
            return self._file(part)
        return self.json(part)

    def _data_url(self, text: str) -> int:
        found = base64_of_data_url(text)
        if found is None:
            return self.counter.count_text(text)
        media_type, data = found
        if media_type.startswith("image/"):
            return self._image(data, None)
        return _file_tokens(media_type, data.size_bytes)

    def _image_part(self, part: dict[str, Any]) -> int:
        image, detail = part.get("image_url"), part.get("detail")
        if isinstance(image, dict):
            detail = image.get("detail", detail)
            image = image.get("url")
        source = part.get("source")
        if isinstance(source, dict) and isinstance(source.get("data"), str):
            return self._image(Base64Data(source["data"]), detail)
        found = base64_of_data_url(image) if isinstance(image, str) else None
        return self._image(found[1] if found else None, detail)

    def _image(self, data: Base64Data | None, detail: Any) -> int:
        width, height = (data and image_size(data)) or (None, None)
        return image_tokens(self.model, detail if isinstance(detail, str) else None, width, height)

    def _audio(self, audio: Any) -> int:
        if not isinstance(audio, dict) or not isinstance(audio.get("data"), str):
            return UNSEEN_FILE_TOKENS
        is_plain = audio.get("format") in ("wav", "pcm16")
        size_bytes = Base64Data(audio["data"]).size_bytes
        return 1 + size_bytes // (WAV_BYTES_PER_TOKEN if is_plain else AUDIO_BYTES_PER_TOKEN)

    def _file(self, part: dict[str, Any]) -> int:
        nested = part.get("file", part.get("source"))
        held = nested if isinstance(nested, dict) else part
        data = held.get("file_data", held.get("data"))
        name_tokens = self.text(held.get("filename"))
        if not isinstance(data, str):
            return UNSEEN_FILE_TOKENS + name_tokens
        found = base64_of_data_url(data)
        if found:
            return _file_tokens(found[0], found[1].size_bytes) + name_tokens
        media_type = held.get("media_type")
        return _file_tokens(media_type if isinstance(media_type, str) else "", len(data) * 3 // 4) + name_tokens


def _scalar(value: Any) -> str:
    """The JSON text of a number, a truth value or null. (A number's digits past the first hundred don't matter.)"""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and value.bit_length() > 332:
        return "9" * 100
    return str(value)


def _file_tokens(media_type: str, size_bytes: int) -> int:
    is_text = media_type.startswith("text/") or media_type == "application/json"
    return 1 + size_bytes // (TEXT_FILE_BYTES_PER_TOKEN if is_text else FILE_BYTES_PER_TOKEN)
