"""The files of jobs: what another process reads of them, how they are found, and when they are removed."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from keyfleet.batch.formats import row_maker
from keyfleet.batch.job import JobFiles, JobOptions, new_job
from keyfleet.batch.lines import Fed, open_input
from keyfleet.batch.merge import merge
from keyfleet.config import Settings
from keyfleet.contract import AttemptError, Outcome
from keyfleet.errors import InputError, JobNotFound
from keyfleet.fleet_jobs.counts import JobCounts
from keyfleet.fleet_jobs.finding import find_folder, find_record
from keyfleet.fleet_jobs.folder import InputEnd, JobFolder, JobSpec, all_folders
from keyfleet.fleet_jobs.following import JobFiling, Standing
from keyfleet.fleet_jobs.result_reader import ResultReader
from keyfleet.fleet_jobs.sweeping import sweep
from keyfleet.ledger import JobFacts, JobRecord

SPEC = JobSpec("aa11", "main", "here", 5.0, "nightly", "/v1/embeddings", deadline_s=9.5, window=7)


def make_folder(state_dir: Path, spec: JobSpec = SPEC) -> JobFolder:
    folder = JobFolder(state_dir / "jobs" / spec.job_id)
    folder.create()
    folder.write_spec(spec)
    return folder


def outcome(number: int, code: str = "") -> Outcome:
    errors = (AttemptError(None, code, "it is"),) if code else ()
    return Outcome(str(number), not code, None if code else 200, b'"answer"', 1, errors)


class Written:
    """A job whose results a test writes, with its lock held."""

    def __init__(self, folder: JobFolder, rows: int) -> None:
        folder.input.write_bytes(b'{"index": 0, "id": "0", "body": {}}\n' * rows)
        self.folder = folder
        self.files: JobFiles = new_job(
            open_input(str(folder.input)), folder.results, "fleet", folder.path.name, JobOptions(url=SPEC.endpoint)
        )
        for _ in self.files.lines:
            pass

    @property
    def fed(self) -> Fed:
        return self.files.lines.fingerprint_at()

    def write(self, *outcomes: Outcome) -> None:
        make = row_maker("fleet", "aa11")
        self.files.writer.write([make(one) for one in outcomes], self.fed)

    def finish(self) -> None:
        self.files.finish(self.fed)
        self.files.close()


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return make_folder(tmp_path)


def test_a_directory_tells_what_its_job_is_to_its_owner_alone(folder: JobFolder) -> None:
    assert folder.spec() == SPEC
    assert folder.end() is None
    folder.write_end(InputEnd(4, False, "KeyError"))
    assert folder.end() == InputEnd(4, False, "KeyError")
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.path.iterdir()} == {0o600}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"job_id": "aa11"}'])
def test_a_damaged_description_is_named(folder: JobFolder, text: str) -> None:
    (folder.path / "job.json").write_text(text)
    with pytest.raises(InputError, match=r"job\.json"):
        folder.spec()


def test_results_are_read_as_far_as_they_are_durable_and_followed(folder: JobFolder) -> None:
    job = Written(folder, 3)
    reader = ResultReader(folder)
    assert reader.read() == []
    job.write(outcome(2), outcome(1, "bad"))
    with folder.results.open("ab") as file:
        file.write(b'{"index": 2, "half')  # on its way, and in no record yet
    assert [(result.index, result.ok) for result in reader.read()] == [(1, True), (0, False)]
    assert (reader.read(), reader.is_at_end) == ([], False)
    job.files.close()
    reader.close()


def indices(folder: JobFolder) -> list[int]:
    found: list[int] = []
    with closing(ResultReader(folder)) as reader:
        while not reader.is_at_end:
            found += [result.index for result in reader.read()]
    return found


def test_a_pass_ends_with_the_job(folder: JobFolder) -> None:
    job = Written(folder, 500)
    job.write(*(outcome(number) for number in range(1, 501)))
    job.finish()
    assert indices(folder) == list(range(500))


def test_results_that_were_changed_by_others_are_an_error(folder: JobFolder) -> None:
    job = Written(folder, 1)
    job.write(outcome(1))
    job.finish()
    folder.results.write_bytes(b"x" * folder.results.stat().st_size)
    with pytest.raises(InputError, match="shorter than its journal says"):
        indices(folder)
    folder.results.write_bytes(b"x" * 9 + b"\n")
    with pytest.raises(InputError, match="the row at byte 0 is damaged"):
        indices(folder)


def test_counts_and_who_runs_it_are_told_by_the_files_alone(folder: JobFolder) -> None:
    filing = JobFiling(folder)
    assert (filing.standing(None), filing.counts(None)) == (Standing.IDLE, JobCounts())
    job = Written(folder, 5)
    assert filing.standing(None) is Standing.ELSEWHERE
    job.write(outcome(1), outcome(2, "bad"), outcome(3, "job_cancelled"))
    job.write(outcome(4, "deadline_exceeded"))
    assert filing.counts(None) == JobCounts(5, 1, 3, 1, 1, False)
    assert filing.counts(None).open == 1
    job.files.close()
    assert filing.standing(None) is Standing.IDLE
    folder.write_end(InputEnd(5, True))
    assert filing.counts(None).is_complete


def test_counts_are_those_of_the_new_results_once_they_have_taken_the_places_of_the_old(folder: JobFolder) -> None:
    job, filing = Written(folder, 2), JobFiling(folder)
    job.write(outcome(1), outcome(2, "bad"))
    job.files.finish(job.fed)
    assert filing.counts(None).failed == 1
    reader = ResultReader(folder)
    reader.read()
    retry = new_job(open_input(str(folder.input)), folder.paths.retry().output, "fleet", "bb22", JobOptions())
    retry.writer.write([row_maker("fleet", "aa11")(outcome(2))], job.fed)
    retry.finish(job.fed)
    merge(folder.paths, job.files.journal, retry.journal).close()
    assert (filing.counts(None).failed, filing.counts(None).succeeded, filing.standing(None)) == (0, 2, Standing.DONE)
    reader._offset = 0
    reader._tail.output_bytes = 0
    with pytest.raises(InputError, match="has got other results meanwhile"):
        reader.read()
    reader.close()
    retry.close()
    job.files.close()


def test_a_job_is_found_by_its_id_its_beginning_and_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for job_id, name, begun_s in (("aa11", "nightly", 5.0), ("aa22", "nightly", 6.0), ("bb33", "aa", 7.0)):
        make_folder(tmp_path, replace(SPEC, job_id=job_id, name=name, begun_s=begun_s))
    make_folder(tmp_path, replace(SPEC, job_id="dd44"))
    (tmp_path / "jobs" / "dd44" / "job.json").write_text("{")

    def found(name: str) -> str | None:
        one = find_folder(tmp_path, name)
        return one[1].job_id if one else None

    assert (found("aa22"), found("b"), found("nightly"), found("aa")) == ("aa22", "bb33", "aa22", "bb33")
    assert (found("cc"), found("")) == (None, None)
    with pytest.raises(JobNotFound, match=r"several jobs begin like that \(aa11, aa22\)"):
        find_folder(tmp_path, "a")
    assert "is damaged" in caplog.text
    assert find_folder(tmp_path / "nowhere", "aa") is None


def record(job_id: str, name: str = "", begun_ms: int = 0, **facts: str) -> JobRecord:
    return JobRecord("main", job_id, JobFacts(name, format="fleet", **facts), 0, 0, 0, begun_ms, 0, 0, 0, "open")


def test_a_job_of_another_host_is_found_among_those_that_programs_have_submitted() -> None:
    records = [record("aa11", "x", 1), record("aa22", "x", 2), record("ab33", retry_of="aa11"), record("ac44")]
    assert find_record(records, "x").job_id == "aa22"
    assert find_record(records, "ac").job_id == "ac44"
    with pytest.raises(JobNotFound, match="several jobs"):
        find_record(records, "a")
    for name in ("ab33", "zz", ""):
        with pytest.raises(JobNotFound, match="neither on this host nor in the broker"):
            find_record(records, name)


def ids(state_dir: Path) -> set[str]:
    return {folder.path.name for folder in all_folders(state_dir)}


def sweep_after(state_dir: Path, days: float) -> set[str]:
    now_s = max(folder.touched_s for folder in all_folders(state_dir)) + days * 86_400
    settings = Settings(state_dir, keep_jobs_s=7 * 86_400, outcome_ttl_s=14 * 86_400)
    sweep(state_dir, settings, clock=lambda: now_s)
    return ids(state_dir)


def test_what_is_kept_long_enough_is_removed_and_nothing_that_runs(tmp_path: Path) -> None:
    for job_id in ("done", "left", "runs", "mapped"):
        make_folder(tmp_path, replace(SPEC, job_id=job_id, is_ephemeral=job_id == "mapped"))
    running = Written(JobFolder(tmp_path / "jobs" / "runs"), 1)
    done = Written(JobFolder(tmp_path / "jobs" / "done"), 1)
    done.write(outcome(1))
    done.finish()
    left = Written(JobFolder(tmp_path / "jobs" / "left"), 1)
    left.files.close()
    JobFolder(tmp_path / "jobs" / "unbegun").create()
    assert find_folder(tmp_path, "unbegun") is None
    assert sweep_after(tmp_path, 0) == {"done", "left", "runs", "mapped", "unbegun"}
    assert sweep_after(tmp_path, 0.1) == {"done", "left", "runs"}
    assert sweep_after(tmp_path, 7.1) == {"left", "runs"}
    assert sweep_after(tmp_path, 14.1) == {"runs"}
    running.files.close()


def test_a_job_that_can_not_be_kept_says_where(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file")
    with pytest.raises(InputError, match="a job can't be kept there"):
        make_folder(tmp_path)
