"""The public names, and what importing the package brings with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import keyfleet

NAMES = [
    "Answer",
    "AttemptError",
    "BrokerUnavailable",
    "ConfigurationError",
    "DeadlineExceeded",
    "Fleet",
    "FleetClosed",
    "InputError",
    "InvalidRequest",
    "Job",
    "JobCancelled",
    "JobCounts",
    "JobNotFound",
    "JobStopped",
    "KeyfleetError",
    "KeysFileError",
    "NoKeyServes",
    "ProviderError",
    "RequestFailed",
    "RequestTooLarge",
    "Result",
    "StreamBroken",
    "__version__",
]


def modules_after(statement: str) -> set[str]:
    """Names of all modules that a new interpreter has after `statement`."""
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout.split())


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_the_public_names_are_these() -> None:
    assert sorted(keyfleet.__all__) == sorted(NAMES)
    assert all(hasattr(keyfleet, name) for name in NAMES)


def test_every_error_is_one_of_keyfleets() -> None:
    from keyfleet import errors

    for name in errors.__all__:
        error = getattr(errors, name)
        assert issubclass(error, errors.KeyfleetError)
        assert name in (errors.__doc__ or "")


def test_importing_keyfleet_brings_neither_workers_nor_celery() -> None:
    assert not packages(modules_after("import keyfleet")) & {"keyfleet_workers", "celery", "redis", "requests"}


def test_the_command_line_brings_no_workers_before_a_command_asks_for_them() -> None:
    assert "keyfleet_workers" not in packages(modules_after("import keyfleet.cli.main"))


def test_a_run_brings_no_workers_into_its_process() -> None:
    assert "keyfleet_workers" not in packages(modules_after("import keyfleet.cli.run"))


@pytest.mark.parametrize("module", ["keyfleet.fleet", "keyfleet.cli.run", "keyfleet.gateway.server"])
def test_who_only_sends_requests_loads_no_celery(module: str) -> None:
    assert not packages(modules_after(f"import {module}")) & {"celery", "kombu"}


def test_importing_the_workers_makes_no_application() -> None:
    assert "keyfleet_workers.celery_app" not in modules_after("import keyfleet_workers")
