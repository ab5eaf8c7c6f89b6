"""Reading inputs: plain, gzip, standard input; numbering, offsets, fingerprints."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import sys
import threading
from pathlib import Path

import pytest

from keyfleet.batch import lines as lines_module
from keyfleet.batch.lines import open_input
from keyfleet.errors import InputError


def raws(name: str) -> list[tuple[int, bytes]]:
    with open_input(name) as lines:
        return [(line.number, line.raw) for line in lines if not line.blank]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return tmp_path / "in.jsonl"


def test_blank_lines_have_a_number_but_are_marked(plain: Path) -> None:
    plain.write_bytes(b'{"a":1}\n\n  \t\n{"b":2}\n')
    assert raws(str(plain)) == [(1, b'{"a":1}'), (4, b'{"b":2}')]


def test_a_byte_order_mark_and_windows_line_ends_are_taken_off(plain: Path) -> None:
    plain.write_bytes(b'\xef\xbb\xbf{"a":1}\r\n\r\n{"b":2}\r\n')
    assert raws(str(plain)) == [(1, b'{"a":1}'), (3, b'{"b":2}')]


def test_a_last_line_without_a_line_break_counts(plain: Path) -> None:
    plain.write_bytes(b"{}\n[1]")
    assert raws(str(plain)) == [(1, b"{}"), (2, b"[1]")]


def test_an_empty_file_has_no_lines(plain: Path) -> None:
    plain.write_bytes(b"")
    assert raws(str(plain)) == []


@pytest.mark.parametrize("name", ["in.jsonl.gz", "in.jsonl"])
def test_gzip_is_read_as_it_is_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"{}\n") + gzip.compress(b"[1]\n"))
    assert raws(str(path)) == [(1, b"{}"), (2, b"[1]")]
    with open_input(str(path)) as lines:
        assert not lines.seekable
        assert lines.resumable
        assert lines.total_bytes == path.stat().st_size
        assert list(lines)
        assert lines.position_bytes == lines.total_bytes


def test_a_gzip_file_that_is_cut_off_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "in.gz"
    path.write_bytes(gzip.compress(os.urandom(100_000).hex().encode())[:-20])
    with open_input(str(path)) as lines, pytest.raises(InputError, match=r"in\.gz: is no complete gzip file"):
        list(lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{}\n", "is named .gz but isn't gzip"), ("{}\n".encode("utf-16"), "is UTF-16 text")],
)
def test_a_file_that_is_not_what_it_seems_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "in.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_input(str(path))


def test_a_missing_input_and_a_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.jsonl: there is no such input file"):
        open_input(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(InputError, match="Is a directory"):
        open_input(str(tmp_path))


def test_a_monstrous_line_is_read_past_and_only_its_head_is_kept(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_module, "LINE_BYTES_MAX", 5000)
    monkeypatch.setattr(lines_module, "PIECE_BYTES", 700)
    content = b"x" * 5000 + b"\n" + b"y" * 12_345 + b"\n{}\n" + b"z" * 6000
    plain.write_bytes(content)
    with open_input(str(plain)) as lines:
        found = list(lines)
        assert [(line.number, len(line.raw), line.oversized) for line in found] == [
            (1, 5000, False),
            (2, lines_module.OVERSIZED_HEAD_BYTES, True),
            (3, 2, False),
            (4, lines_module.OVERSIZED_HEAD_BYTES, True),
        ]
        assert lines.fingerprint_at().digest == hashlib.blake2b(content, digest_size=16).hexdigest()
        assert found[-1].end_offset == len(content)


def test_the_fingerprint_is_of_all_bytes_up_to_the_last_line_read(plain: Path) -> None:
    content = b"\xef\xbb\xbf{}\r\n\n[1]\n[2]\n"
    plain.write_bytes(content)
    with open_input(str(plain)) as lines:
        for line in lines:
            fed = lines.fingerprint_at()
            assert (fed.offset, fed.line_number) == (line.end_offset, line.number)
            assert fed.digest == hashlib.blake2b(content[: line.end_offset], digest_size=16).hexdigest()


def test_a_line_can_be_read_again_at_its_offset(plain: Path) -> None:
    plain.write_bytes(b"\xef\xbb\xbf{}\r\n\n[1]\n[2]")
    with open_input(str(plain)) as lines:
        found = list(lines)
        assert [lines.read_at(line.offset, line.end_offset) for line in found] == [b"{}", b"", b"[1]", b"[2]"]
        with pytest.raises(InputError, match="became shorter"):
            lines.read_at(0, 1000)


def test_peeking_at_the_first_line_takes_nothing_away(plain: Path) -> None:
    plain.write_bytes(b"\n\n{}\n[1]\n")
    with open_input(str(plain)) as lines:
        first = lines.first_line()
        assert first is not None
        assert first.raw == b"{}"
        assert [line.number for line in lines] == [1, 2, 3, 4]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input_is_read_but_cannot_be_read_twice(pack: object, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"{}\n[1]\n"
    stream = io.TextIOWrapper(io.BytesIO(gzip.compress(content) if pack is gzip.compress else content))
    monkeypatch.setattr(sys, "stdin", stream)
    with open_input("-") as lines:
        assert [line.raw for line in lines] == [b"{}", b"[1]"]
        assert (lines.resumable, lines.seekable, lines.total_bytes) == (False, False, None)
        with pytest.raises(InputError, match="only plain files"):
            lines.read_at(0, 1)
    assert not stream.closed


def test_a_pipe_is_a_stream(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"{}\n"))
    writer.start()
    with open_input(str(pipe)) as lines:
        assert [line.raw for line in lines] == [b"{}"]
        assert not lines.resumable
    writer.join()
