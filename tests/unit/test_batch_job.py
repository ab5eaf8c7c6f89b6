"""Opening a job: new, resumed, continued, nothing to do, and every refusal."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from keyfleet.batch.formats import Row, blank_row
from keyfleet.batch.job import JobFiles, JobOptions, NothingToDo, open_job
from keyfleet.batch.job_paths import default_output
from keyfleet.batch.lines import Fed
from keyfleet.errors import InputError

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
        if line.blank:
            files.writer.write([blank_row(line.number)], fed)
        elif files.wants(line.number) and (only is None or line.number in only):
            sent.append(line.number)
            files.writer.write([row(line.number, failed=line.number in failing)], fed)
    if only is None:
        files.finish(files.lines.fingerprint_at())
    files.close()
    return sent


def rows(path: Path) -> list[Any]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_a_new_job_is_run_and_done(source: Path, output: Path) -> None:
    files = opened(source, output)
    assert (files.action, files.format, files.finished_lines) == ("new", "bare", 0)
    assert run(files) == [1, 2, 3, 4, 5]
    assert rows(output) == [[number, 0] for number in range(1, 6)]
    assert sorted(path.name for path in output.parent.iterdir()) == ["in.jsonl", "out.jsonl", "out.jsonl.keyfleet"]


@pytest.mark.parametrize("failing", [(), (2,)])
def test_the_same_command_again_has_nothing_to_do_and_the_same_exit_code(
    source: Path, output: Path, failing: tuple[int, ...]
) -> None:
    run(opened(source, output), failing=failing)
    before = output.read_bytes()
    again = open_job(str(source), output, JobOptions())
    assert isinstance(again, NothingToDo)
    assert (again.finished_lines, again.failed_lines, again.exit_code) == (5, len(failing), int(bool(failing)))
    assert output.read_bytes() == before


def test_an_interrupted_job_goes_on_with_the_lines_that_are_missing(source: Path, output: Path) -> None:
    files = opened(source, output)
    job_id = files.job_id
    run(files, only=(2, 5))
    with output.open("ab") as file:
        file.write(b'[3, "torn')
    files = opened(source, output)
    assert (files.action, files.job_id, files.finished_lines) == ("resume", job_id, 2)
    assert run(files) == [1, 3, 4]
    assert rows(output) == [[2, 0], [5, 0], [1, 0], [3, 0], [4, 0]]


def test_a_row_is_written_once_however_often_it_comes(source: Path, output: Path) -> None:
    files = opened(source, output)
    fed = Fed(0, 0, "")
    assert files.writer.write([row(1), row(1), row(2)], fed) == 2
    assert files.writer.write([row(2), row(1)], fed) == 0
    files.close()
    files = opened(source, output)
    assert files.writer.write([row(2), row(3)], fed) == 1
    files.close()
    assert rows(output) == [[1, 0], [2, 0], [3, 0]]


def test_an_input_that_only_grew_is_continued(source: Path, output: Path) -> None:
    run(opened(source, output))
    with source.open("a") as file:
        file.write("\n" + BARE % 7)
    files = opened(source, output)
    assert files.action == "continue"
    assert run(files) == [7]
    assert [found[0] for found in rows(output)] == [1, 2, 3, 4, 5, 7]


def test_an_input_that_grew_by_blanks_only_has_nothing_new(source: Path, output: Path) -> None:
    run(opened(source, output))
    with source.open("a") as file:
        file.write("\n  \r\n")
    assert isinstance(open_job(str(source), output, JobOptions()), NothingToDo)


def test_a_limit_can_be_lifted_later(source: Path, output: Path) -> None:
    files = opened(source, output, limit_lines=2)
    fed = [files.lines.fingerprint_at() for _ in range(2) if next(files.lines)]
    files.writer.write([row(1), row(2)], fed[-1])
    files.finish(fed[-1])
    files.close()
    assert isinstance(open_job(str(source), output, JobOptions(limit_lines=2)), NothingToDo)
    assert run(opened(source, output)) == [3, 4, 5]


def test_a_line_break_added_to_the_last_line_is_no_change(source: Path, output: Path) -> None:
    source.write_text(source.read_text().rstrip("\n"))
    run(opened(source, output))
    with source.open("a") as file:
        file.write("\r\n" + BARE % 6)
    assert run(opened(source, output)) == [6]


def test_a_gzip_input_resumes_too(tmp_path: Path, output: Path) -> None:
    source = tmp_path / "in.jsonl.gz"
    source.write_bytes(gzip.compress(b'{"model": "m", "input": "x"}\n' * 3))
    run(opened(source, output), only=(1,))
    assert run(opened(source, output)) == [2, 3]


def test_an_input_without_lines_is_done_with_an_empty_output(tmp_path: Path, output: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b"\n\n")
    assert run(opened(source, output)) == []
    assert output.read_bytes() == b""
    assert isinstance(open_job(str(source), output, JobOptions()), NothingToDo)


def refused(source: Path | str, output: Path | None, message: str, **options: Any) -> None:
    """The refusal, and that it changed nothing."""
    directory = (output or Path(source)).parent
    before = {path: path.read_bytes() for path in directory.iterdir() if path.is_file()} if directory.is_dir() else {}
    with pytest.raises(InputError, match=message):
        open_job(str(source), output, JobOptions(**options))
    if directory.is_dir():
        assert {path: path.read_bytes() for path in directory.iterdir() if path.is_file()} == before


def test_an_output_that_is_not_ours_is_refused(source: Path, output: Path) -> None:
    output.write_text("my thesis\n")
    refused(source, output, r"out\.jsonl: exists and isn't keyfleet's.*--overwrite")


def test_an_empty_output_file_may_be_used(source: Path, output: Path) -> None:
    output.touch()
    assert run(opened(source, output)) == [1, 2, 3, 4, 5]


def test_a_changed_input_is_refused(source: Path, output: Path) -> None:
    run(opened(source, output), only=(1, 2, 3, 4, 5))
    source.write_text(source.read_text().replace('"3"', '"9"'))
    refused(source, output, r"in\.jsonl: was changed in its first 5 lines")


def test_a_shorter_input_is_refused(source: Path, output: Path) -> None:
    run(opened(source, output))
    source.write_text(BARE % 1)
    refused(source, output, "is shorter than when it was read before")


def test_a_last_line_that_grew_is_refused(source: Path, output: Path) -> None:
    source.write_text('{"model": "m", "input": [1]}\n{"model": "m", "input": [1]}')
    run(opened(source, output))
    source.write_text(source.read_text() + " ]\n")
    refused(source, output, "line 2, which was the last one, has grown")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ordered": True}, "was begun with --ordered off, and now it is on"),
        ({"url": "/v1/responses"}, "was begun with --url not given, and now it is /v1/responses"),
    ],
)
def test_options_that_change_the_meaning_are_refused(
    source: Path, output: Path, options: dict[str, Any], message: str
) -> None:
    run(opened(source, output), only=(1,))
    refused(source, output, message, **options)


def test_another_format_is_refused(source: Path, output: Path) -> None:
    run(opened(source, output), only=(1,))
    source.write_text('{"custom_id": "a", "body": {}}\n')
    refused(source, output, "was begun with format bare, and now it is batch")


def test_an_output_that_was_cut_or_changed_is_refused(source: Path, output: Path) -> None:
    run(opened(source, output), only=(1, 2))
    content = output.read_bytes()
    output.write_bytes(content[:-1])
    refused(source, output, r"has 13 bytes, but 14 were written to it")
    output.write_bytes(content.replace(b"2, 0", b"2, 7"))
    refused(source, output, "was changed since keyfleet wrote it")
    output.unlink()
    refused(source, output, "has 0 bytes, but 14")


def test_a_second_identical_command_is_refused(source: Path, output: Path) -> None:
    files = opened(source, output)
    refused(source, output, r"another keyfleet run is writing out\.jsonl")
    refused(source, output, "another keyfleet run is writing", overwrite=True)
    files.close()


def test_names_that_cannot_be_an_output_are_refused(source: Path, tmp_path: Path) -> None:
    refused(source, source, "is the input")
    link = tmp_path / "link.jsonl"
    link.symlink_to(source)
    refused(source, link, "is the input", overwrite=True)
    refused(source, tmp_path, "is a directory")
    refused(source, tmp_path / "nowhere" / "out.jsonl", "nowhere is no directory")
    refused(source, source / "out.jsonl", r"in\.jsonl is no directory")
    with pytest.raises(InputError, match="is no regular file"):
        open_job(str(source), Path("/dev/null"), JobOptions(overwrite=True))


def test_an_errors_file_that_is_the_input_or_not_ours_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "out.errors.jsonl"
    source.write_text('{"custom_id": "a", "body": {}}\n')
    refused(source, tmp_path / "out.jsonl", "is the input", overwrite=True)
    source.rename(tmp_path / "in.jsonl")
    (tmp_path / "out.errors.jsonl").write_text("mine")
    refused(tmp_path / "in.jsonl", tmp_path / "out.jsonl", r"out\.errors\.jsonl: exists and isn't keyfleet's")


def test_overwrite_starts_anew_whatever_is_there(source: Path, output: Path) -> None:
    source.write_text('{"custom_id": "a", "body": {}}\n')
    errors = output.with_name("out.errors.jsonl")
    for path in (output, errors, output.with_name("out.jsonl.keyfleet"), output.with_name("out.jsonl.retry")):
        path.write_text("something else\n")
    files = opened(source, output, overwrite=True)
    assert files.action == "new"
    assert run(files) == [1]
    assert rows(output) == [[1, 0]]
    assert sorted(path.name for path in output.parent.iterdir()) == ["in.jsonl", "out.jsonl", "out.jsonl.keyfleet"]


def test_standard_input_runs_once(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def piped() -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((BARE % 1).encode())))

    piped()
    refused("-", None, "give -o/--output")
    piped()
    assert run(opened("-", output)) == [1]
    piped()
    refused("-", output, "a stream can't be read a second time")
    piped()
    assert run(opened("-", output, overwrite=True)) == [1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/requests.jsonl", "a/requests_results.jsonl"),
        ("requests.jsonl.gz", "requests_results.jsonl"),
        ("requests.txt", "requests_results.jsonl"),
        ("requests", "requests_results.jsonl"),
        ("a.jsonl.d/x.jsonl", "a.jsonl.d/x_results.jsonl"),
    ],
)
def test_the_output_is_named_after_the_input(name: str, expected: str) -> None:
    assert default_output(name) == Path(expected)
