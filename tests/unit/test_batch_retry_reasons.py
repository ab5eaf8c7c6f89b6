"""Retrying only what failed for some reasons, and what journals tell of why lines failed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from keyfleet.batch.formats import Row, blank_row
from keyfleet.batch.job import JobFiles, JobOptions, NothingToDo, open_job
from keyfleet.batch.journal import Journal, read_header
from keyfleet.batch.retry_failed import RetryJob, is_meant, open_retry
from keyfleet.errors import InputError

REASONS = {1: "400 bad", 4: "500 server_error", 6: "400 worse", 7: "400 bad"}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def row(number: int, word: str, reason: str = "") -> Row:
    return Row(number, bool(reason), json.dumps([number, word]).encode() + b"\n", reason)


@pytest.fixture(params=[False, True])
def source(output: Path, request: pytest.FixtureRequest) -> str:
    """A done job of bare or of Batch lines; lines 1, 4, 6 and 7 failed, line 3 is blank."""
    source = output.parent / "in.jsonl"
    text = '{"custom_id": "a", "body": {}}\n' if request.param else '{"model": "m"}\n'
    source.write_text(text * 2 + "\n" + text * 4)
    files = open_job(str(source), output, JobOptions())
    assert isinstance(files, JobFiles)
    list(files.lines)
    fed = files.lines.fingerprint_at()
    files.writer.write([row(2, "good"), row(5, "good"), blank_row(3)], fed)
    files.writer.write([row(number, "bad", reason) for number, reason in REASONS.items()], fed)
    files.finish(fed)
    files.close()
    return str(source)


def begin(source: str, output: Path, *reasons: str) -> RetryJob:
    job = open_retry(source, output, JobOptions(reasons=reasons))
    assert isinstance(job, RetryJob)
    list(job.lines)
    return job


def reasons_in(output: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    journal = Journal.open(output.with_name("out.jsonl.keyfleet"))
    for reason, numbers in journal.failures():
        found[reason] += len(list(numbers))
    journal.close()
    return found


def all_rows(output: Path) -> dict[int, str]:
    paths = (output, output.with_name("out.errors.jsonl"))
    return dict(json.loads(text) for path in paths if path.exists() for text in path.read_text().splitlines())


def test_a_journal_tells_why_lines_failed(source: str, output: Path) -> None:
    assert reasons_in(output) == Counter(REASONS.values())


@pytest.mark.parametrize(
    ("wanted", "lines"),
    [
        (("400 bad",), [1, 7]),
        (("bad",), [1, 7]),
        (("400",), [1, 6, 7]),
        (("500", "worse"), [4, 6]),
        ((), [1, 4, 6, 7]),
    ],
)
def test_a_reason_is_status_and_code_or_one_of_them(
    source: str, output: Path, wanted: tuple[str, ...], lines: list[int]
) -> None:
    job = begin(source, output, *wanted)
    assert [number for number in range(1, 8) if job.wants(number)] == lines
    assert job.left == len(lines)
    job.close()


def test_lines_that_failed_for_other_reasons_keep_their_outcomes(source: str, output: Path) -> None:
    job = begin(source, output, "bad")
    fed = job.lines.fingerprint_at()
    job.writer.write([row(7, "now"), row(1, "again", "429 slow")], fed)
    job.finish(fed)
    assert (job.finished_lines, job.failed_lines) == (6, 3)
    job.close()
    assert all_rows(output) == {1: "again", 2: "good", 4: "bad", 5: "good", 6: "bad", 7: "now"}
    assert reasons_in(output) == Counter(["429 slow", "500 server_error", "400 worse"])
    done = open_job(source, output, JobOptions())
    assert isinstance(done, NothingToDo)
    assert (done.finished_lines, done.failed_lines) == (6, 3)


def test_a_reason_that_no_line_has_is_refused_with_those_that_there_are(source: str, output: Path) -> None:
    with pytest.raises(InputError, match="no line has failed for 404; there are: 400 bad, 400 worse, 500 server_error"):
        open_retry(source, output, JobOptions(reasons=("404",)))
    assert not list(output.parent.glob("*.retry*"))
    begin(source, output, "bad").close()  # nothing is locked


def test_a_retry_that_was_interrupted_is_finished_before_one_of_other_lines(source: str, output: Path) -> None:
    job = begin(source, output, "400 bad", "500")
    job.writer.write([row(1, "now")], job.lines.fingerprint_at())
    job.close()
    for others in ((), ("400 worse",)):
        with pytest.raises(InputError, match=r"a retry of other lines \(400 bad, 500\) was interrupted"):
            open_retry(source, output, JobOptions(reasons=others))
    again = begin(source, output, "500", "400 bad")
    assert [number for number in range(1, 8) if again.wants(number)] == [4, 7]
    again.close()


def test_lines_of_a_journal_that_tells_no_reason_are_called_unknown() -> None:
    assert is_meant("", ("unknown",))
    assert not is_meant("", ("",))
    assert not is_meant("400 bad", ("unknown", "40", "ba"))


def test_what_a_job_was_begun_with_is_read_while_another_process_writes_it(source: str, output: Path) -> None:
    job = begin(source, output)
    assert read_header(output.with_name("out.jsonl.keyfleet")).input_name == source
    job.close()
    with pytest.raises(InputError, match="is no journal"):
        read_header(Path(source))
    with pytest.raises(InputError, match="No such file"):
        read_header(output.with_name("nothing"))
