"""Loading encodings: at once from a local folder, briefly from the network, and never again."""

from __future__ import annotations

import hashlib
import logging
import threading
from pathlib import Path

import pytest

from keyfleet.tokens.encodings import RANK_FILES, Encoding, EncodingLoader, RankFile, cache_dir

UNREACHABLE_S = 0.01


class Bytes:
    """A stand-in encoding: one token for each byte."""

    def encode_ordinary(self, text: str) -> list[int]:
        return list(text.encode())


class Builder:
    """Counts what it is asked to build; may fail, or hang until it is released."""

    def __init__(self, *, error: Exception | None = None, hangs: bool = False) -> None:
        self.asked: list[tuple[str, str]] = []
        self.release = threading.Event()
        self.done = threading.Event()
        self._error, self._hangs = error, hangs

    def __call__(self, encoding_name: str) -> Encoding:
        self.asked.append((encoding_name, threading.current_thread().name))
        if self._hangs:
            self.release.wait(30)
        self.done.set()
        if self._error:
            raise self._error
        return Bytes()


def loader_of(builder: Builder, *, cached: bool = False, timeout_s: float = 5) -> EncodingLoader:
    return EncodingLoader(download_timeout_s=timeout_s, build=builder, is_cached=lambda _: cached)


def test_a_cached_encoding_is_built_at_once_in_the_callers_thread() -> None:
    builder = Builder()
    assert isinstance(loader_of(builder, cached=True).load("o200k_base"), Bytes)
    assert builder.asked == [("o200k_base", threading.current_thread().name)]


def test_an_encoding_that_must_be_downloaded_is_built_on_a_thread_of_its_own() -> None:
    builder = Builder()
    assert isinstance(loader_of(builder).load("o200k_base"), Bytes)
    assert builder.asked == [("o200k_base", "keyfleet-load-o200k_base")]


def test_a_download_that_hangs_is_given_up_after_the_timeout_and_not_tried_again() -> None:
    builder = Builder(hangs=True)
    loader = loader_of(builder, timeout_s=UNREACHABLE_S)
    assert [loader.load("o200k_base") for _ in range(100)] == [None] * 100
    assert len(builder.asked) == 1
    builder.release.set()


def test_a_download_that_ends_late_is_used_from_then_on() -> None:
    builder = Builder(hangs=True)
    loader = loader_of(builder, timeout_s=UNREACHABLE_S)
    assert loader.load("o200k_base") is None
    builder.release.set()
    for thread in threading.enumerate():
        if thread.name == "keyfleet-load-o200k_base":
            thread.join(10)
    assert isinstance(loader.load("o200k_base"), Bytes)


@pytest.mark.parametrize("cached", [True, False])
def test_a_rank_file_that_is_broken_leads_to_no_encoding(cached: bool) -> None:
    builder = Builder(error=ValueError("Error parsing line"))
    loader = loader_of(builder, cached=cached)
    assert loader.load("o200k_base") is None
    assert loader.load("o200k_base") is None
    assert len(builder.asked) == 1


def test_a_hanging_download_does_not_keep_another_encoding_from_being_loaded() -> None:
    hanging = Builder(hangs=True)

    def build(name: str) -> Encoding:
        return Bytes() if name == "cl100k_base" else hanging(name)

    loader = EncodingLoader(download_timeout_s=UNREACHABLE_S, build=build, is_cached=lambda name: name == "cl100k_base")
    assert loader.load("o200k_base") is None
    assert isinstance(loader.load("cl100k_base"), Bytes)
    hanging.release.set()


def test_many_threads_that_ask_at_once_cause_one_attempt() -> None:
    builder = Builder()
    loader = loader_of(builder)
    found: list[Encoding | None] = []
    threads = [threading.Thread(target=lambda: found.append(loader.load("o200k_base"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(builder.asked) == 1
    assert all(isinstance(encoding, Bytes) for encoding in found)
    assert len(found) == 16


def test_one_warning_says_what_to_set_and_names_the_encoding(caplog: pytest.LogCaptureFixture) -> None:
    loader = loader_of(Builder(error=OSError("unreachable")))
    with caplog.at_level(logging.WARNING, logger="keyfleet.tokens"):
        for name in ("o200k_base", "cl100k_base", "o200k_base"):
            loader.load(name)
    (record,) = caplog.records
    assert record.name == "keyfleet.tokens"
    assert "TIKTOKEN_CACHE_DIR" in record.getMessage()
    assert "o200k_base" in record.getMessage()
    assert RANK_FILES["o200k_base"].cached_name in record.getMessage()
    assert "OSError" in record.getMessage()


def test_an_encoding_that_loads_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    loader_of(Builder(), cached=True).load("o200k_base")
    assert not caplog.records


def test_a_cached_file_is_named_by_the_sha1_of_its_address() -> None:
    assert RANK_FILES["cl100k_base"].cached_name == "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"


def test_the_cache_folder_is_found_by_tiktokens_own_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.setenv("DATA_GYM_CACHE_DIR", str(tmp_path / "gym"))
    assert cache_dir() == tmp_path / "gym"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert cache_dir() is None
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    monkeypatch.delenv("DATA_GYM_CACHE_DIR")
    assert (cache_dir() or Path()).name == "data-gym-cache"


@pytest.fixture
def rank_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A whole rank file of a made-up encoding in the cache folder."""
    content = b"IQ== 0\n"
    made_up = RankFile("https://example.invalid/made_up.tiktoken", hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(RANK_FILES, "made_up", made_up)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    path = tmp_path / made_up.cached_name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "thread_name"),
    [(b"IQ== 0\n", "MainThread"), (b"IQ==", "keyfleet-load-made_up"), (None, "keyfleet-load-made_up")],
    ids=["whole", "truncated", "missing"],
)
def test_only_a_whole_rank_file_counts_as_cached(content: bytes | None, thread_name: str, rank_file: Path) -> None:
    if content is None:
        rank_file.unlink()
    else:
        rank_file.write_bytes(content)
    builder = Builder()
    loader = EncodingLoader(build=builder)
    assert isinstance(loader.load("made_up"), Bytes)
    assert builder.asked[0][1].startswith(thread_name if content != b"IQ== 0\n" else threading.current_thread().name)
