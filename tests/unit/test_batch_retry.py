"""Retrying failed lines: new outcomes take the places of the old ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keyfleet.batch.formats import Row, blank_row
from keyfleet.batch.job import JobFiles, JobOptions, NothingToDo, open_job
from keyfleet.batch.retry_failed import RetryJob, open_retry
from keyfleet.errors import InputError

ORDER = (5, 1, 6, 4, 2)
"""The order in which the first run's rows are written; line 3 is blank."""
FAILING = (1, 4, 6)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def rows(path: Path) -> list[Any]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def row(number: int, word: str, *, failed: bool) -> Row:
    return Row(number, failed, json.dumps([number, word]).encode() + b"\n")


def done_job(
    output: Path, *, batch: bool = False, ordered: bool = False, finish: bool = True
) -> tuple[str, JobOptions]:
    source, options = output.parent / "in.jsonl", JobOptions(ordered=ordered)
    text = '{"custom_id": "a", "body": {}}\n' if batch else '{"model": "m"}\n'
    source.write_text(text * 2 + "\n" + text * 3)
    files = open_job(str(source), output, options)
    assert isinstance(files, JobFiles)
    assert len(list(files.lines)) == 6
    fed = files.lines.fingerprint_at()
    for number in ORDER:
        files.writer.write([row(number, "bad" if number in FAILING else "good", failed=number in FAILING)], fed)
    files.writer.write([blank_row(3)], fed)
    if finish:
        files.finish(fed)
    files.close()
    return str(source), options


def retry(source: str, output: Path, options: JobOptions, outcomes: dict[int, bool]) -> RetryJob:
    """Write new outcomes (line: whether it failed again); the retry is finished if they are all that is wanted."""
    job = open_retry(source, output, options)
    assert isinstance(job, RetryJob)
    for _ in job.lines:
        pass
    fed = job.lines.fingerprint_at()
    for number, failed in outcomes.items():
        assert job.wants(number)
        job.writer.write([row(number, "again" if failed else "now", failed=failed)], fed)
    if not job.left:
        job.finish(fed)
    job.close()
    return job


def test_new_outcomes_stand_in_the_places_of_the_old(output: Path) -> None:
    source, options = done_job(output)
    job = retry(source, output, options, {6: False, 1: True, 4: False})
    assert rows(output) == [[5, "good"], [1, "again"], [6, "now"], [4, "now"], [2, "good"]]
    assert (job.finished_lines, job.failed_lines, job.exit_code) == (5, 1, 1)
    assert sorted(path.name for path in output.parent.iterdir()) == ["in.jsonl", "out.jsonl", "out.jsonl.keyfleet"]


def test_batch_successes_move_from_the_errors_to_the_output(output: Path) -> None:
    source, options = done_job(output, batch=True)
    errors = output.with_name("out.errors.jsonl")
    assert rows(errors) == [[1, "bad"], [6, "bad"], [4, "bad"]]
    retry(source, output, options, {6: False, 4: True, 1: False})
    assert rows(output) == [[5, "good"], [2, "good"], [1, "now"], [6, "now"]]
    assert rows(errors) == [[4, "again"]]
    retry(source, output, options, {4: False})
    assert rows(output) == [[5, "good"], [2, "good"], [1, "now"], [6, "now"], [4, "now"]]
    assert not errors.exists()


@pytest.mark.parametrize("batch", [False, True])
def test_an_ordered_output_stays_ordered(output: Path, batch: bool) -> None:
    source, options = done_job(output, batch=batch, ordered=True)
    retry(source, output, options, {6: False, 4: False, 1: False})
    assert rows(output) == [[1, "now"], [2, "good"], [4, "now"], [5, "good"], [6, "now"]]


def test_an_interrupted_retry_goes_on_and_keeps_its_job_id(output: Path) -> None:
    source, options = done_job(output)
    before = output.read_bytes()
    first = retry(source, output, options, {4: False})
    assert output.read_bytes() == before
    second = retry(source, output, options, {1: False, 6: False})
    assert first.job_id == second.job_id
    assert first.job_id != first.row_job_id == second.row_job_id
    assert rows(output) == [[5, "good"], [1, "now"], [6, "now"], [4, "now"], [2, "good"]]


def test_after_a_retry_the_job_is_done_and_can_grow(output: Path) -> None:
    source, options = done_job(output, ordered=True)
    retry(source, output, options, {1: False, 4: False, 6: False})
    done = open_job(source, output, options)
    assert isinstance(done, NothingToDo)
    assert (done.exit_code, done.finished_lines) == (0, 5)
    assert isinstance(open_retry(source, output, options), NothingToDo)
    with Path(source).open("a") as file:
        file.write("{}\n")
    files = open_job(source, output, options)
    assert isinstance(files, JobFiles)
    assert [line.number for line in files.lines if files.wants(line.number)] == [7]
    files.writer.write([row(7, "new", failed=False)], files.lines.fingerprint_at())
    files.finish(files.lines.fingerprint_at())
    files.close()
    assert [found[0] for found in rows(output)] == [1, 2, 4, 5, 6, 7]


def test_a_retry_of_a_job_that_was_overwritten_starts_anew(output: Path) -> None:
    source, options = done_job(output)
    old = retry(source, output, options, {4: False})
    leftovers = {path: path.read_bytes() for path in output.parent.glob("*.retry*")}
    assert leftovers
    for path in output.parent.glob("out*"):
        path.unlink()
    done_job(output)
    for path, content in leftovers.items():
        path.write_bytes(content)
    new = open_retry(source, output, options)
    assert isinstance(new, RetryJob)
    assert (new.left, new.wants(4), new.job_id == old.job_id) == (3, True, False)
    new.close()


def test_a_retry_is_not_finished_while_lines_are_left(output: Path) -> None:
    source, options = done_job(output)
    job = open_retry(source, output, options)
    assert isinstance(job, RetryJob)
    with pytest.raises(InputError, match="3 failed lines have no new result yet"):
        job.finish(job.lines.fingerprint_at())
    job.close()


def test_a_job_in_retry_is_in_use(output: Path) -> None:
    source, options = done_job(output)
    job = open_retry(source, output, options)
    assert isinstance(job, RetryJob)
    for opening in (open_job, open_retry):
        with pytest.raises(InputError, match="another keyfleet run is writing"):
            opening(source, output, options)
    job.close()


def test_only_a_done_job_can_be_retried(output: Path) -> None:
    source, options = done_job(output, finish=False)
    with pytest.raises(InputError, match="the job isn't done; finish it first"):
        open_retry(source, output, options)
    with pytest.raises(InputError, match=r"nothing to retry; other\.jsonl\.keyfleet is missing"):
        open_retry(source, output.with_name("other.jsonl"), options)


def test_a_changed_input_is_refused(output: Path) -> None:
    source, options = done_job(output)
    Path(source).write_text('{"model": "x"}\n' * 6)
    with pytest.raises(InputError, match="was changed"):
        open_retry(source, output, options)
    with pytest.raises(InputError, match="--ordered"):
        open_retry(source, output, JobOptions(ordered=True))


def test_an_interrupted_second_retry_keeps_what_it_has(output: Path) -> None:
    source, options = done_job(output)
    retry(source, output, options, {1: True, 4: True, 6: False})
    retry(source, output, options, {1: False})
    assert isinstance(open_job(source, output, options), NothingToDo)
    retry(source, output, options, {4: False})
    assert rows(output) == [[5, "good"], [1, "now"], [6, "now"], [4, "now"], [2, "good"]]
