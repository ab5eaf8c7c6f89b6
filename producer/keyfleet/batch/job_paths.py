"""The names of a job's files, and the refusals that need nothing but names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from keyfleet.batch.lines import STANDARD_INPUT
from keyfleet.errors import InputError

__all__ = ["JobPaths", "check_paths", "default_output"]


@dataclass(frozen=True, slots=True)
class JobPaths:
    """Where a job writes. `errors` is None where failures stand among the other rows."""

    output: Path
    errors: Path | None
    spool: Path
    journal: Path

    @classmethod
    def of(cls, output: Path, *, errors: Path | None) -> JobPaths:
        return cls(output, errors, _beside(output, ".spool"), _beside(output, ".keyfleet"))

    @classmethod
    def for_format(cls, output: Path, line_format: str) -> JobPaths:
        """Batch failures go to `<stem>.errors.jsonl`, as OpenAI keeps them apart."""
        errors = output.with_name(f"{output.stem}.errors.jsonl") if line_format == "batch" else None
        return cls.of(output, errors=errors)

    def retry(self) -> JobPaths:
        """The files of a retry: all its rows in one."""
        return JobPaths.of(_beside(self.output, ".retry"), errors=None)

    def merged(self) -> JobPaths:
        """The files that a merge writes before they take the places of these."""
        errors = _beside(self.errors, ".merged") if self.errors is not None else None
        return JobPaths.of(_beside(self.output, ".merged"), errors=errors)

    def all(self) -> tuple[Path, ...]:
        errors = () if self.errors is None else (self.errors,)
        return (self.output, *errors, self.spool, self.journal)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def default_output(input_name: str) -> Path:
    """As the cookbook's script: `requests.jsonl` gives `requests_results.jsonl`.

    Other endings are replaced too (`requests.jsonl.gz`, `requests.txt`), where the script would have written into its
    own input. Raises InputError for standard input and pipes, which need `-o`.
    """
    path = Path(input_name)
    if input_name == STANDARD_INPUT or (path.exists() and not path.is_file() and not path.is_dir()):
        raise InputError(f"{input_name}: reading a stream needs a name for the output; give -o/--output")
    name = path.name.removesuffix(".gz")
    stem = name.removesuffix(".jsonl") if name.endswith(".jsonl") else Path(name).stem
    return path.with_name(f"{stem}_results.jsonl")


def check_paths(input_name: str, paths: JobPaths) -> None:
    """Raises InputError if an output is the input, no regular file, or in no writable directory."""
    directory = paths.output.parent
    if not directory.is_dir():
        raise InputError(f"{paths.output}: can't be written: {directory} is no directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise InputError(f"{paths.output}: can't be written: no permission to write in {directory}")
    for path in paths.all():
        if path.is_dir():
            raise InputError(f"{path}: is a directory; expected a file's name")
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is no regular file; results need one to be resumed from")
        if path.exists() and not os.access(path, os.W_OK):
            raise InputError(f"{path}: can't be written: no permission")
        if input_name != STANDARD_INPUT and _same_file(Path(input_name), path):
            raise InputError(f"{path}: is the input; results need a file of their own")


def _same_file(left: Path, right: Path) -> bool:
    if left.exists() and right.exists():
        return left.samefile(right)
    return left.resolve() == right.resolve()
