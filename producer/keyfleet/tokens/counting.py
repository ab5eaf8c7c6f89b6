"""Counting the tokens of text for a model, exactly where its encoding is at hand and by the estimate where not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from keyfleet.errors import ConfigurationError
from keyfleet.tokens.encodings import RANK_FILES, EncodingLoader
from keyfleet.tokens.estimate import estimate_tokens

__all__ = ["CHUNK_CHARS", "TextCounter", "chunks", "counter_for", "encoding_name_for"]

CHUNK_CHARS = 960
"""The longest text that is encoded at once. An encoder's work may grow with the square of a run without spaces. A
multiple of 3 and of 64, so that runs of digits (taken by threes) and of white space are cut where a token ends."""

_LOADER = EncodingLoader()


@dataclass(frozen=True, slots=True)
class TextCounter:
    """Counts text for `model` with the encoding `encoding_name`. Loads the encoding at the first count.

    An encoding that arrives late is used from then on. Known weakness: models of other makers have encodings of their
    own; they are counted with OpenAI's, and the usage that the provider reports corrects it.
    """

    model: str
    encoding_name: str
    loader: EncodingLoader = field(default=_LOADER, repr=False, compare=False)

    @property
    def is_exact(self) -> bool:
        """Whether the encoding itself counts, not the estimate. May wait, once, for the encoding to be loaded."""
        return self.loader.load(self.encoding_name) is not None

    def count_text(self, text: str) -> int:
        """The tokens of `text`, special tokens counted as plain text; at most one off for each `CHUNK_CHARS`."""
        encoding = self.loader.load(self.encoding_name)
        if encoding is None:
            return estimate_tokens(text)
        if len(text) <= CHUNK_CHARS:
            return len(encoding.encode_ordinary(text))
        return sum(len(encoding.encode_ordinary(chunk)) for chunk in chunks(text))


def chunks(text: str) -> Iterator[str]:
    """Cut `text` into pieces of at most `CHUNK_CHARS`, before a space where there is one (a token starts there)."""
    start = 0
    while len(text) - start > CHUNK_CHARS:
        end = text.rfind(" ", start + 1, start + CHUNK_CHARS + 1)
        if end == -1:
            end = start + CHUNK_CHARS
        yield text[start:end]
        start = end
    yield text[start:]


@lru_cache(maxsize=1_024)
def encoding_name_for(model: str) -> str:
    """The encoding of a model, as tiktoken knows it.

    A name that tiktoken doesn't know is tried without what stands before its last slash (`openai/gpt-4o`), then takes
    o200k_base, which all of OpenAI's models since GPT-4o have; but cl100k_base, which is the dearer one, where the
    name tells an embedding or a GPT-3.5 or GPT-4 of before that.
    """
    from tiktoken.model import encoding_name_for_model

    for name in (model, model.rsplit("/", 1)[-1]):
        try:
            return encoding_name_for_model(name)
        except KeyError:
            continue
    older = ("embedding", "gpt-3", "gpt-35", "gpt-4-")
    return "cl100k_base" if any(word in model for word in older) else "o200k_base"


def counter_for(model: str, *, encoding_name: str | None = None, loader: EncodingLoader = _LOADER) -> TextCounter:
    """A counter for `model`; `encoding_name` (the cookbook's `--token_encoding_name`) overrides the model's own.

    Cheap: the encoding is loaded at the first count, once in a process. Raises ConfigurationError for an encoding
    that tiktoken doesn't know.
    """
    if encoding_name is None:
        return TextCounter(model, encoding_name_for(model), loader)
    if encoding_name not in RANK_FILES:
        import tiktoken

        known = tiktoken.list_encoding_names()
        if encoding_name not in known:
            raise ConfigurationError(
                f"token_encoding_name is no encoding that tiktoken knows; expected one of {', '.join(sorted(known))}",
                setting="token_encoding_name",
            )
    return TextCounter(model, encoding_name, loader)
