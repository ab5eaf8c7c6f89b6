"""Lines set aside on disk."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet.batch.aside import AsideQueue
from keyfleet.batch.lines import InputLine, open_input
from keyfleet.errors import InputError


@pytest.mark.parametrize("pack", [True, False])
def test_lines_come_back_in_the_order_they_were_set_aside(tmp_path: Path, pack: bool) -> None:
    content = b"\xef\xbb\xbf[1]\r\n\n[3]\n[4]"
    path = tmp_path / "in.jsonl"
    path.write_bytes(gzip.compress(content) if pack else content)
    with open_input(str(path)) as lines:
        aside = AsideQueue(lines)
        found = [line for line in lines if not line.blank]
        for line in found:
            aside.push(line)
        assert len(aside) == 3
        assert aside.peek() == found[0]
        assert [aside.pop() for _ in range(4)] == [*found, None]
        assert aside.peek() is None
        aside.close()


@given(st.lists(st.none() | st.binary(max_size=9)))
def test_the_queue_is_first_in_first_out_and_takes_no_room_when_empty(steps: list[bytes | None]) -> None:
    lines = open_input("/dev/null")  # a stream: the lines themselves are kept
    aside, expected = AsideQueue(lines), list[InputLine]()
    for number, step in enumerate(steps):
        if step is None:
            assert aside.pop() == (expected.pop(0) if expected else None)
        else:
            expected.append(InputLine(number, number, number + 1, step))
            aside.push(expected[-1])
        assert len(aside) == len(expected)
        if not expected and aside._file is not None:
            assert aside._file.seek(0, 2) == 0
    aside.close()
    lines.close()


def test_an_input_that_became_shorter_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"[1]\n[2]\n")
    with open_input(str(path)) as lines:
        aside = AsideQueue(lines)
        for line in lines:
            aside.push(line)
        path.write_bytes(b"")
        with pytest.raises(InputError, match="became shorter"):
            aside.pop()
        aside.close()


def test_a_temporary_directory_without_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"[1]\n")

    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    with open_input(str(path)) as lines:
        aside = AsideQueue(lines)
        with monkeypatch.context() as patched:
            patched.setattr("os.pwrite", full)
            with pytest.raises(InputError, match="lines can't be set aside there: No space left on device"):
                aside.push(InputLine(1, 0, 4, b"[1]"))
        assert len(aside) == 0
        aside.close()
