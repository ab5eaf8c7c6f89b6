"""Writing rows: the errors file, ordered outputs, disks that are full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keyfleet.batch import durable
from keyfleet.batch import spool as spool_module
from keyfleet.batch import writer as writer_module
from keyfleet.batch.formats import Row, blank_row
from keyfleet.batch.job import JobFiles, JobOptions, NothingToDo, open_job
from keyfleet.batch.job_paths import JobPaths
from keyfleet.batch.lines import Fed
from keyfleet.errors import DiskFull, InputError

BARE = '{"model": "m", "input": "%d"}\n'


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(BARE % number for number in range(1, 6)))
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def row(number: int, *, failed: bool = False) -> Row:
    return Row(number, failed, b"[%d, %d]\n" % (number, failed))


def opened(source: Path | str, output: Path | None, **options: Any) -> JobFiles:
    files = open_job(str(source), output, JobOptions(**options))
    assert isinstance(files, JobFiles)
    return files


def run(files: JobFiles, *, failing: tuple[int, ...] = (), only: tuple[int, ...] | None = None) -> list[int]:
    """Write a row for each line that wants one; not finished if `only` some are written."""
    sent = []
    for line in files.lines:
        fed = files.lines.fingerprint_at()
        if files.wants(line.number) and (only is None or line.number in only):
            sent.append(line.number)
            files.writer.write([row(line.number, failed=line.number in failing)], fed)
    if only is None:
        files.finish(files.lines.fingerprint_at())
    files.close()
    return sent


def rows(path: Path) -> list[Any]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def batch_source(source: Path) -> Path:
    source.write_text('{"custom_id": "a", "body": {}}\n' * 5)
    return source


def test_batch_failures_stand_in_a_file_of_their_own_that_exists_only_with_them(source: Path, output: Path) -> None:
    errors = JobPaths.for_format(output, "batch").errors
    assert errors == output.with_name("out.errors.jsonl")
    run(opened(batch_source(source), output), only=(1, 2))
    assert not errors.exists()
    files = opened(source, output)
    assert run(files, failing=(3, 5)) == [3, 4, 5]
    assert rows(output) == [[1, 0], [2, 0], [4, 0]]
    assert rows(errors) == [[3, 1], [5, 1]]


def test_the_errors_file_is_cut_back_too(source: Path, output: Path) -> None:
    errors = output.with_name("out.errors.jsonl")
    run(opened(batch_source(source), output), only=(1,))
    errors.write_text("[2, 1]\n")  # written by a run that died before its record
    run(opened(source, output), failing=(2,), only=(2,))
    assert rows(errors) == [[2, 1]]
    with errors.open("a") as file:
        file.write("[3, ")
    run(opened(source, output), failing=(3,))
    assert rows(errors) == [[2, 1], [3, 1]]


def test_an_ordered_output_keeps_early_rows_back(source: Path, output: Path) -> None:
    source.write_text(BARE % 1 + "\n" + BARE % 3 + BARE % 4 + BARE % 5)
    files = opened(source, output, ordered=True)
    fed = Fed(0, 0, "")
    assert files.writer.lookahead_end == 1 + writer_module.ORDERED_LOOKAHEAD_LINES
    files.writer.write([row(5), row(3)], fed)
    assert rows(output) == []
    files.writer.write([row(1)], fed)
    assert rows(output) == [[1, 0]]
    files.close()
    files = opened(source, output, ordered=True)
    assert files.writer.lookahead_end == 2 + writer_module.ORDERED_LOOKAHEAD_LINES
    assert files.writer.write([row(3), blank_row(2)], fed) == 1
    assert rows(output) == [[1, 0], [3, 0]]
    files.writer.write([row(4)], fed)
    assert [found[0] for found in rows(output)] == [1, 3, 4, 5]
    assert output.with_name("out.jsonl.spool").stat().st_size == 0
    assert files.finished_lines == 4
    files.finish(fed)
    files.close()
    assert not output.with_name("out.jsonl.spool").exists()


def test_a_gap_in_an_ordered_output_is_not_called_done(source: Path, output: Path) -> None:
    files = opened(source, output, ordered=True)
    files.writer.write([row(2)], Fed(0, 0, ""))
    with pytest.raises(InputError, match="line 1 has no result"):
        files.finish(Fed(0, 0, ""))
    files.close()


def test_spooled_rows_are_copied_in_pieces(source: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "RELEASE_PIECE_BYTES", 10)
    files = opened(source, output, ordered=True)
    files.writer.write([row(number) for number in (5, 4, 3, 2)], Fed(0, 0, ""))
    files.writer.write([row(1)], Fed(0, 0, ""))
    assert [found[0] for found in rows(output)] == [1, 2, 3, 4, 5]
    assert output.with_name("out.jsonl.keyfleet").read_bytes().count(b"\n") == 5  # header, 2 writes, 2 pieces
    files.close()


def test_a_damaged_spool_is_refused(source: Path, output: Path) -> None:
    files = opened(source, output, ordered=True)
    files.writer.write([row(2)], Fed(0, 0, ""))
    files.close()
    spool = output.with_name("out.jsonl.spool")
    content = spool.read_bytes()
    spool.write_bytes(spool_module._HEAD.pack(2, 1) + content[spool_module._HEAD.size :])
    with pytest.raises(InputError, match=r"out\.jsonl\.spool: is damaged"):
        opened(source, output, ordered=True)
    spool.unlink()
    with pytest.raises(InputError, match=r"out\.jsonl\.spool: has 0 bytes, but 23"):
        opened(source, output, ordered=True)


def test_a_disk_that_fails_is_reported_and_the_job_goes_on_later(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = opened(source, output)
    files.writer.write([row(1)], Fed(0, 0, ""))
    with monkeypatch.context() as patched:

        def broken(fd: int, data: bytes) -> None:
            raise OSError(5, "Input/output error")

        patched.setattr(durable, "append", broken)
        with pytest.raises(InputError, match=r"out\.jsonl: can't be written: Input/output error"):
            files.writer.write([row(2)], Fed(0, 0, ""))
    with pytest.raises(InputError, match="writing failed before"):
        files.writer.write([row(2)], Fed(0, 0, ""))
    files.close()
    assert run(opened(source, output)) == [2, 3, 4, 5]


class FullDisk:
    """After so many whole writes the disk is full: half of the next one fits, until there is room again."""

    def __init__(self, whole_writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes_left = whole_writes
        self._append = durable.append
        monkeypatch.setattr(durable, "append", self._append_some)

    def _append_some(self, fd: int, data: bytes) -> None:
        self.writes_left -= 1
        if self.writes_left >= 0:
            self._append(fd, data)
            return
        self._append(fd, data[: len(data) // 2])
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("whole_writes", range(7))
def test_a_disk_that_was_full_is_gone_on_with_as_if_nothing_had_happened(
    source: Path, output: Path, monkeypatch: pytest.MonkeyPatch, ordered: bool, whole_writes: int
) -> None:
    files = opened(batch_source(source), output, ordered=ordered)
    list(files.lines)
    fed = files.lines.fingerprint_at()
    disk = FullDisk(whole_writes, monkeypatch)
    refusals = named = 0
    groups = [[row(5)], [row(3, failed=True), row(4)], [row(1)], [row(2, failed=True)]]
    for group in groups:
        for tries in range(3):
            try:
                files.writer.write(group, fed)
                break
            except DiskFull as error:
                named += str(output.parent) in str(error)
                refusals += 1
                disk.writes_left = 1000 if tries else 0
    files.finish(fed)
    files.close()
    assert (refusals, named) == (2, 2)
    errors = output.with_name("out.errors.jsonl")
    assert sorted(rows(output)) == [[1, 0], [4, 0], [5, 0]]
    assert sorted(rows(errors)) == [[2, 1], [3, 1]]
    if ordered:
        assert (rows(output), rows(errors)) == (sorted(rows(output)), sorted(rows(errors)))
    again = open_job(str(source), output, JobOptions(ordered=ordered))
    assert isinstance(again, NothingToDo)
    assert (again.finished_lines, again.failed_lines) == (5, 2)
