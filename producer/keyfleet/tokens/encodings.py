"""tiktoken's encodings, loaded so that nothing ever hangs.

tiktoken downloads an encoding's rank file at its first use, with no timeout, and holds a lock of its own meanwhile. So
a rank file that lies whole in tiktoken's cache directory is loaded at once; any other is fetched on a daemon thread
that is waited for only briefly, once per encoding and process. Until it comes, if it ever does, the caller estimates.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["DOWNLOAD_TIMEOUT_S", "RANK_FILES", "Encoding", "EncodingLoader", "RankFile", "cache_dir"]

DOWNLOAD_TIMEOUT_S = 5.0
"""How long the first use of an encoding may wait for its rank file (1.6 to 3.6 MB) to be downloaded."""

_log = logging.getLogger("keyfleet.tokens")


class Encoding(Protocol):
    """What is used of a tiktoken encoding."""

    def encode_ordinary(self, text: str) -> list[int]:
        """The tokens of `text`, in which special tokens count as plain text."""


@dataclass(frozen=True, slots=True)
class RankFile:
    """A rank file's address and SHA-256, as in `tiktoken_ext/openai_public.py`."""

    url: str
    sha256: str

    @property
    def cached_name(self) -> str:
        """The file's name in tiktoken's cache directory: the SHA-1 of its address (tiktoken/load.py)."""
        return hashlib.sha1(self.url.encode(), usedforsecurity=False).hexdigest()


_BLOBS = "https://openaipublic.blob.core.windows.net/encodings/"
_CL100K = RankFile(_BLOBS + "cl100k_base.tiktoken", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7")
_O200K = RankFile(_BLOBS + "o200k_base.tiktoken", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d")
_P50K = RankFile(_BLOBS + "p50k_base.tiktoken", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069")
_R50K = RankFile(_BLOBS + "r50k_base.tiktoken", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930")

RANK_FILES = {
    "cl100k_base": _CL100K,
    "o200k_base": _O200K,
    "o200k_harmony": _O200K,
    "p50k_base": _P50K,
    "p50k_edit": _P50K,
    "r50k_base": _R50K,
}
"""The rank file of each encoding that needs exactly one."""


def cache_dir() -> Path | None:
    """Where tiktoken keeps rank files, by its own rule; None where its cache is switched off (an empty setting)."""
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            return Path(os.environ[variable]) if os.environ[variable] else None
    return Path(tempfile.gettempdir()) / "data-gym-cache"


def _is_cached(encoding_name: str) -> bool:
    """Whether the rank file is there and whole. (tiktoken deletes a file with a wrong hash and downloads it anew.)"""
    rank_file, directory = RANK_FILES.get(encoding_name), cache_dir()
    if rank_file is None or directory is None:
        return False
    try:
        data = (directory / rank_file.cached_name).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(data).hexdigest() == rank_file.sha256


def _build(encoding_name: str) -> Encoding:
    """Make the encoding without tiktoken's registry, whose lock another encoding's hanging download may hold."""
    import tiktoken

    constructors = importlib.import_module("tiktoken_ext.openai_public").ENCODING_CONSTRUCTORS
    constructor = constructors.get(encoding_name)
    if constructor is None:  # a plugin's encoding
        return tiktoken.get_encoding(encoding_name)
    return tiktoken.Encoding(**constructor())


class EncodingLoader:
    """Loads each encoding once, and tries only once; safe to use from many threads.

    `build` makes an encoding by its name (slowly, perhaps over the network, perhaps raising anything) and `is_cached`
    tells whether it does so from local files alone.
    """

    def __init__(
        self,
        *,
        download_timeout_s: float = DOWNLOAD_TIMEOUT_S,
        build: Callable[[str], Encoding] = _build,
        is_cached: Callable[[str], bool] = _is_cached,
    ) -> None:
        self._download_timeout_s = download_timeout_s
        self._build = build
        self._is_cached = is_cached
        self._lock = threading.Lock()
        self._tried: set[str] = set()
        self._loaded: dict[str, Encoding] = {}
        self._failures: dict[str, str] = {}
        self._warned = False

    def load(self, encoding_name: str) -> Encoding | None:
        """The encoding, or None while it can't be had; waits at most the timeout, at the first call for a name."""
        encoding = self._loaded.get(encoding_name)
        if encoding is not None or encoding_name in self._tried:
            return encoding
        with self._lock:
            if encoding_name not in self._tried:
                self._try(encoding_name)
                self._tried.add(encoding_name)
        return self._loaded.get(encoding_name)

    def _try(self, encoding_name: str) -> None:
        if self._is_cached(encoding_name):
            self._attempt(encoding_name)
        else:
            thread = threading.Thread(
                target=self._attempt, args=(encoding_name,), name=f"keyfleet-load-{encoding_name}", daemon=True
            )
            thread.start()
            thread.join(self._download_timeout_s)
        if encoding_name not in self._loaded:
            self._warn_once(encoding_name)

    def _attempt(self, encoding_name: str) -> None:
        try:
            self._loaded[encoding_name] = self._build(encoding_name)
        except Exception as error:  # whatever is wrong with a rank file, counting goes on with the estimate
            self._failures[encoding_name] = type(error).__name__

    def _warn_once(self, encoding_name: str) -> None:
        if self._warned:
            return
        self._warned = True
        rank_file = RANK_FILES.get(encoding_name)
        _log.warning(
            "The token encoding %s could not be loaded (%s), so tokens are estimated, on the high side. To count them "
            "exactly, set TIKTOKEN_CACHE_DIR to a folder that holds its rank file%s.",
            encoding_name,
            self._failures.get(encoding_name, f"no download within {self._download_timeout_s:g} s"),
            f" ({rank_file.url}) under the name {rank_file.cached_name}" if rank_file else "",
        )
