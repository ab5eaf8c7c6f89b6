"""The journal: records, replay, damage and locking; and the sets of lines in it."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyfleet.batch.journal import Journal
from keyfleet.batch.journal_state import JOURNAL_VERSION, BatchRecord, JournalHeader
from keyfleet.batch.line_set import LineSet, decode_ranges, encode_ranges
from keyfleet.batch.lines import Fed
from keyfleet.errors import InputError

HEADER = JournalHeader("job", "in.jsonl", "bare", False, None)
RECORD = BatchRecord((1, 2, 5, 4), (2,), (3,), 100, 0, 0, 1, 77, Fed(500, 5, "ab"))


@given(st.sets(st.integers(0, 200)), st.integers(0, 210))
def test_a_line_set_is_a_set(numbers: set[int], up_to: int) -> None:
    lines = LineSet()
    assert [lines.add(number) for number in numbers] == [True] * len(numbers)
    assert not any(lines.add(number) for number in numbers)
    assert list(lines) == sorted(numbers)
    assert len(lines) == len(numbers)
    assert [number for number in range(220) if number in lines] == sorted(numbers)
    assert list(lines.missing(up_to)) == [number for number in range(1, up_to + 1) if number not in numbers]


@given(st.lists(st.integers(0, 30)))
def test_ranges_keep_numbers_and_order(numbers: list[int]) -> None:
    assert list(decode_ranges(encode_ranges(numbers))) == numbers


def test_ranges_are_short() -> None:
    assert encode_ranges([*range(1, 33), 35, 34]) == "1-32,35,34"


def begun(path: Path) -> Journal:
    journal = Journal.open(path)
    journal.start(HEADER)
    return journal


def test_what_was_appended_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "out.keyfleet"
    journal = begun(path)
    journal.append_batch(RECORD)
    journal.append_batch(replace(RECORD, written=(9, 8), failed=(), skipped=(), output_bytes=150))
    journal.append_done(Fed(900, 9, "cd"))
    before = journal.state
    journal.close()
    journal = Journal.open(path)
    assert journal.state.header == HEADER
    assert list(journal.state.written) == list(before.written) == [1, 2, 3, 4, 5, 8, 9]
    assert list(journal.state.failed) == [2]
    assert list(journal.state.skipped) == [3]
    assert (journal.state.finished_lines, journal.state.failed_lines) == (6, 1)
    assert (journal.state.output_bytes, journal.state.last_group) == (150, (100, 150, 77))
    assert (journal.state.done, journal.state.fed) == (True, Fed(900, 9, "cd"))
    assert list(journal.written_order()) == [1, 2, 5, 4, 9, 8]
    journal.append_batch(RECORD)
    assert not journal.state.done
    journal.close()


def test_reading_from_the_start_again_does_not_move_the_mark_back(tmp_path: Path) -> None:
    journal = begun(tmp_path / "j")
    journal.append_batch(RECORD)
    journal.append_batch(replace(RECORD, fed=Fed(10, 1, "x")))
    assert journal.state.fed == RECORD.fed
    journal.close()


def test_a_last_record_that_is_torn_at_any_byte_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = begun(path)
    journal.append_batch(RECORD)
    whole = path.read_bytes()
    journal.append_batch(replace(RECORD, written=(9,)))
    longer = path.read_bytes()
    journal.close()
    for length in range(len(whole), len(longer)):
        path.write_bytes(longer[:length])
        journal = Journal.open(path)
        assert 9 not in journal.state.written
        assert 5 in journal.state.written
        assert path.read_bytes() == whole
        journal.append_batch(replace(RECORD, written=(11,)))
        journal.close()
        journal = Journal.open(path)
        assert 11 in journal.state.written
        journal.close()


def test_a_torn_header_is_an_empty_journal(tmp_path: Path) -> None:
    path = tmp_path / "j"
    begun(path).close()
    header = path.read_bytes()
    for torn in (b"", header[:1], header[:-1], bytes(40)):
        path.write_bytes(torn)
        journal = Journal.open(path)
        assert journal.empty
        journal.start(HEADER)
        journal.close()
        assert path.read_bytes() == header


def test_damage_in_the_middle_is_an_error_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = begun(path)
    journal.append_batch(RECORD)
    journal.append_batch(RECORD)
    journal.close()
    content = path.read_bytes()
    for place in (20, content.index(b"\n") + 15):
        damaged = content[:place] + b"#" + content[place + 1 :]
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"j, line [12]: the journal is damaged.*--overwrite"):
            Journal.open(path)
        assert path.read_bytes() == damaged


def checked(record: object) -> bytes:
    text = json.dumps(record).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (checked({"t": "h", "version": JOURNAL_VERSION + 1, "new": 1}), "a later version of keyfleet"),
        (checked({"t": "h", "version": 1}), "damaged"),
        (checked({"t": "b"}), "damaged: no header"),
        (b"some notes\n", "damaged"),
        (b"x" * 10_000, "is no journal"),
    ],
)
def test_what_is_no_journal_of_this_version_is_refused_untouched(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "j"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        Journal.open(path)
    assert path.read_bytes() == content


def test_an_unknown_record_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "j"
    begun(path).close()
    with path.open("ab") as file:
        file.write(checked({"t": "?"}))
    with pytest.raises(InputError, match="unknown kind"):
        Journal.open(path)


def test_a_journal_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl.keyfleet"
    journal = begun(path)
    with pytest.raises(InputError, match=r"another keyfleet run is writing out\.jsonl$"):
        Journal.open(path)
    with pytest.raises(InputError, match="another keyfleet run"):
        Journal.overwrite(path, HEADER)
    journal.close()
    Journal.open(path).close()


FORKS = """
import os, sys
from pathlib import Path
from keyfleet.batch.journal import Journal

journal = Journal.open(Path(sys.argv[1]))
if os.fork():
    os._exit(0)  # as if killed: nothing is unlocked on purpose
print("child", flush=True)
sys.stdin.read()
"""


def test_a_forked_child_that_outlives_its_parent_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "j"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", FORKS, str(path)], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"child\n"
        assert process.wait() == 0
        Journal.open(path).close()


def test_overwriting_puts_a_fresh_journal_in_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b"damaged\nwhatever\n")
    journal = Journal.overwrite(path, HEADER)
    assert journal.state.header == HEADER
    with pytest.raises(InputError, match="another keyfleet run"):
        Journal.open(path)
    journal.append_batch(RECORD)
    journal.close()
    journal = Journal.open(path)
    assert 5 in journal.state.written
    journal.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["j"]
