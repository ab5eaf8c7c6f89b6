"""Who else may read a file with secrets in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keyfleet.config.file_access import others_may_read


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("made-up", encoding="utf-8")
    return path


@pytest.mark.parametrize(("mode", "may_read"), [(0o600, False), (0o640, True), (0o604, True), (0o400, False)])
def test_a_file_of_ones_own_is_for_oneself_alone(secret: Path, mode: int, may_read: bool) -> None:
    secret.chmod(mode)
    assert others_may_read(secret) is may_read


@pytest.mark.parametrize(("mode", "may_read"), [(0o640, False), (0o644, True)])
def test_a_file_of_another_owner_may_be_for_a_group(
    secret: Path, mode: int, may_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret.chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: secret.stat().st_uid + 1)
    assert others_may_read(secret) is may_read


def test_a_file_that_is_mounted_by_itself_has_the_permissions_that_the_engine_gave_it(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret.chmod(0o444)
    assert others_may_read(secret)
    monkeypatch.setattr(os.path, "ismount", lambda path: path == secret)
    assert not others_may_read(secret)
