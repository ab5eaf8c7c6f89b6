"""Where the official package is missing, or too old, the error says what to type."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDDEN = "import sys; sys.modules['openai'] = None\n"


def said_by(code: str, path: Path | None = None) -> str:
    env = os.environ | ({} if path is None else {"PYTHONPATH": str(path)})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_a_missing_package_is_told_with_the_pip_line() -> None:
    assert said_by(HIDDEN + "import keyfleet.openai").endswith("pip install 'keyfleet[openai]'")


def test_a_release_before_1_0_is_told_with_the_pip_line(tmp_path: Path) -> None:
    (tmp_path / "openai.py").write_text("class ChatCompletion: ...\n", encoding="utf-8")
    assert said_by("import keyfleet.openai", tmp_path).endswith("pip install 'keyfleet[openai]'")


@pytest.mark.parametrize("module", ["keyfleet", "keyfleet.fleet", "keyfleet.api", "keyfleet.gateway"])
def test_nothing_else_needs_the_package(module: str) -> None:
    done = subprocess.run([sys.executable, "-c", HIDDEN + f"import {module}"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
