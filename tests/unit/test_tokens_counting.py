"""Counting text: which encoding a model has, and that the work grows with the text and no faster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet.errors import ConfigurationError
from keyfleet.tokens import counter_for, estimate_tokens
from keyfleet.tokens.counting import CHUNK_CHARS, chunks, encoding_name_for
from keyfleet.tokens.encodings import RANK_FILES, Encoding, EncodingLoader


class Recorder:
    """An encoding of one token for each character that notes how long the texts were."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def encode_ordinary(self, text: str) -> list[int]:
        self.lengths.append(len(text))
        return [0] * len(text)


def unavailable(_: str) -> Encoding:
    raise OSError("no network")


def local(encoding: Encoding) -> EncodingLoader:
    return EncodingLoader(build=lambda _: encoding, is_cached=lambda _: True)


OFFLINE = EncodingLoader(build=unavailable, is_cached=lambda _: True)


@pytest.fixture(scope="module")
def real() -> EncodingLoader:
    """tiktoken's own encodings, from a local folder; never from the network."""
    named = [os.environ.get("TIKTOKEN_CACHE_DIR"), str(Path(__file__).parents[3] / "shared" / "tiktoken")]
    files = [RANK_FILES[name].cached_name for name in ("cl100k_base", "o200k_base")]
    folder = next((each for each in named if each and all((Path(each) / name).is_file() for name in files)), None)
    if folder is None:
        pytest.skip("no rank files: neither TIKTOKEN_CACHE_DIR nor ../shared/tiktoken holds cl100k_base and o200k_base")
    loader = EncodingLoader(download_timeout_s=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", folder)
        assert None not in (loader.load("cl100k_base"), loader.load("o200k_base"))
    return loader


@pytest.mark.parametrize(
    ("model", "encoding_name"),
    [
        ("gpt-4o-mini", "o200k_base"),
        ("gpt-4.1-nano-2025-04-14", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-3.5-turbo-0125", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
        ("ft:gpt-4o-mini:acme::x", "o200k_base"),
        ("openai/gpt-4", "cl100k_base"),
        ("my-embedding-model", "cl100k_base"),
        ("gpt-7-unheard-of", "o200k_base"),
        ("claude-opus", "o200k_base"),
        ("", "o200k_base"),
    ],
)
def test_a_model_has_its_own_encoding_or_a_modern_one(model: str, encoding_name: str) -> None:
    assert encoding_name_for(model) == encoding_name
    assert counter_for(model).encoding_name == encoding_name


def test_a_given_encoding_name_overrides_the_models() -> None:
    assert counter_for("gpt-4o", encoding_name="cl100k_base").encoding_name == "cl100k_base"


def test_an_unknown_encoding_name_is_refused_with_what_is_expected() -> None:
    with pytest.raises(ConfigurationError, match=r"token_encoding_name .*cl100k_base.*o200k_base") as caught:
        counter_for("gpt-4o", encoding_name="cl1OOk")
    assert caught.value.setting == "token_encoding_name"


def test_without_its_encoding_text_is_estimated() -> None:
    counter = counter_for("gpt-4o", loader=OFFLINE)
    assert not counter.is_exact
    assert counter.count_text("Ordinary words, estimated.") == estimate_tokens("Ordinary words, estimated.")


def test_special_tokens_count_as_plain_text(real: EncodingLoader) -> None:
    assert counter_for("gpt-4o", loader=real).count_text("<|endoftext|>") > 1


def test_real_encodings_count_exactly(real: EncodingLoader) -> None:
    counter = counter_for("gpt-4", loader=real)
    assert counter.is_exact
    assert counter.count_text("tiktoken is great!") == 6
    assert counter.count_text("") == 0


@given(st.text(alphabet="ab \n\té中", max_size=5_000))
def test_chunks_are_bounded_and_lose_nothing(text: str) -> None:
    cut = list(chunks(text))
    assert "".join(cut) == text
    assert max(map(len, cut)) <= CHUNK_CHARS


@pytest.mark.parametrize("character", ["a", "1", " ", "\n", "é", "中", "("])
def test_the_work_of_two_million_characters_is_linear(character: str) -> None:
    recorder = Recorder()
    counter = counter_for("gpt-4o", loader=local(recorder))
    assert counter.count_text(character * 2_000_000) == 2_000_000
    assert sum(recorder.lengths) == 2_000_000
    assert max(recorder.lengths) <= CHUNK_CHARS
    assert len(recorder.lengths) <= 2_000_000 // CHUNK_CHARS + 1


def test_words_are_cut_into_hardly_more_chunks_than_must_be() -> None:
    recorder = Recorder()
    counter_for("gpt-4o", loader=local(recorder)).count_text("several words and then some more " * 10_000)
    assert len(recorder.lengths) < 330_000 / CHUNK_CHARS * 1.05


SENTENCE = "The fox, having crossed 12 rivers,  slept under an old oak tree.\n\n    Then (at noon) it woke up! "


@pytest.mark.parametrize("encoding_name", ["cl100k_base", "o200k_base"])
@pytest.mark.parametrize(
    "unit", [SENTENCE, "a", "1", " ", "\n", "é", "的一是不了人我在有他", "(", "def f(x):\n    return x\n"]
)
def test_a_text_in_chunks_counts_nearly_as_it_does_whole(encoding_name: str, unit: str, real: EncodingLoader) -> None:
    text = unit * (60_000 // len(unit))
    encoding = real.load(encoding_name)
    assert encoding is not None
    true = len(encoding.encode_ordinary(text))
    counted = counter_for("x", encoding_name=encoding_name, loader=real).count_text(text)
    assert counted == pytest.approx(true, abs=2 * len(text) / CHUNK_CHARS)


def test_prose_with_single_spaces_counts_in_chunks_exactly_as_it_does_whole(real: EncodingLoader) -> None:
    text = "The fox, having crossed 12 rivers, slept under an old oak tree.\n\nThen (at noon) it woke up! " * 1_000
    encoding = real.load("o200k_base")
    assert encoding is not None
    assert counter_for("gpt-4o", loader=real).count_text(text) == len(encoding.encode_ordinary(text))
