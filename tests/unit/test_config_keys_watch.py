"""Reading the keys file again: what counts as a change, and that nothing wrong takes effect."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from keyfleet.config import Environment, KeySource, KeysWatch, find_keys


class Case:
    """A keys file that last changed at the times that a test says, and who watches it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_s = 1000.0
        self.reads = 0
        self.during_read: Callable[[], object] = lambda: None
        self.write("one")
        self.watch = KeysWatch(self.load, path, now_s=lambda: self.now_s)

    def load(self) -> KeySource:
        self.reads += 1
        source = find_keys(option_path=self.path, env=Environment({}), cwd=self.path.parent)
        self.during_read()
        return source

    def write(self, *names: str, text: str | None = None, path: Path | None = None) -> None:
        """A file with these keys, or this text, a second after what was before."""
        self.now_s += 1.0
        path = path or self.path
        path.write_text(text if text is not None else text_of(*names))
        os.utime(path, (self.now_s, self.now_s))

    def look(self, after_s: float = 1.0, **how: bool) -> list[str] | None:
        """The names of the keys of a new source."""
        self.now_s += after_s
        source = self.watch.look(**how)
        return None if source is None else [key.name for key in source.keys]


def text_of(*names: str) -> str:
    return "keys:\n" + "".join(f"- {{name: {name}, api_key: file:/{name}}}\n" for name in names)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "keys.yaml")


def test_what_was_there_from_the_beginning_is_no_change(case: Case) -> None:
    assert [case.look() for _ in range(3)] == [None] * 3
    assert case.reads == 0


def test_a_change_is_given_once(case: Case) -> None:
    case.write("one", "two")
    assert case.look() == ["one", "two"]
    assert case.look() is None
    case.write("two")
    assert case.look() == ["two"]


def test_while_nothing_changes_a_look_opens_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.look()
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("the file was opened"))
    assert case.look() is None


def test_a_file_that_was_only_touched_is_no_change(case: Case) -> None:
    case.write("one")
    assert case.look() is None
    assert case.reads == 0


def test_a_file_that_changed_just_now_is_looked_at_again(case: Case) -> None:
    case.write("one", "two")
    assert case.look(after_s=0.1) is None
    assert case.look(after_s=0.2) == ["one", "two"]


def test_a_file_of_the_future_is_read_all_the_same(case: Case) -> None:
    case.write("one", "two")
    case.now_s -= 3600.0
    assert case.look() == ["one", "two"]


def test_a_file_that_changes_while_it_is_read_is_read_again_in_silence(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    case.write("one", "two")
    case.during_read = lambda: case.write(text="keys: [")
    assert case.look() is None
    case.during_read = lambda: None
    case.write("one", "two", "three")
    assert case.look() == ["one", "two", "three"]
    assert not caplog.records


def test_an_editor_that_puts_another_file_in_place_is_noticed(case: Case) -> None:
    new = case.path.with_suffix(".new")
    case.write("two", path=new)
    new.replace(case.path)
    assert case.look() == ["two"]


def test_a_link_that_is_swung_to_another_directory_is_noticed(tmp_path: Path) -> None:
    """As Kubernetes does it: keys.yaml -> ..data/keys.yaml, and ..data -> a directory per version."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "keys.yaml").symlink_to("..data/keys.yaml")
    case = Case(tmp_path / "keys.yaml")
    case.write("two", path=tmp_path / "v2" / "keys.yaml")
    assert case.look() is None
    (tmp_path / "..new").symlink_to("v2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert case.look() == ["two"]


def test_what_does_not_parse_is_said_once_with_its_line_and_changes_nothing(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    case.write(text="keys:\n- name: one\n  rpmm: 5\n")
    assert [case.look() for _ in range(3)] == [None] * 3
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"{case.path}, line 3: " in record.message
    assert record.message.endswith("; the keys stay as they are")
    case.write(text="keys: 5\n")
    case.look()
    assert len(caplog.records) == 2


def test_after_what_does_not_parse_the_file_as_it_was_is_no_change_and_another_is(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    case.write(text="")
    case.look()
    case.write("one")
    assert case.look() is None
    case.write("two")
    assert case.look() == ["two"]
    assert len(caplog.records) == 1


def test_a_file_that_is_gone_is_said_once_and_read_when_it_is_back(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    case.path.unlink()
    assert [case.look() for _ in range(3)] == [None] * 3
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.message.startswith(f"{case.path} can't be read (No such file")
    case.write("one")
    assert case.look() is None
    case.path.unlink()
    case.look()
    assert len(caplog.records) == 2
    case.write("two")
    assert case.look() == ["two"]


def test_a_file_that_is_not_there_yet_is_read_when_it_comes(tmp_path: Path) -> None:
    case = Case(tmp_path / "keys.yaml")
    case.path.unlink()
    case.watch = KeysWatch(case.load, case.path, now_s=lambda: case.now_s)
    assert case.look() is None
    case.write("one")
    assert case.look() == ["one"]


def test_who_asks_for_it_gets_the_keys_of_a_file_that_did_not_change(case: Case) -> None:
    assert case.look(is_forced=True) == ["one"]
    assert case.look() is None


def test_who_asks_for_it_need_not_wait_for_the_file_to_settle(case: Case) -> None:
    case.write("one", "two")
    assert case.look(after_s=0.0, is_forced=True) == ["one", "two"]
    case.path.write_text(text_of("one", "tri"))  # as long as before, within the same tick of the file's clock
    os.utime(case.path, (case.now_s, case.now_s))
    assert case.look() == ["one", "tri"]


def test_who_asks_for_it_hears_of_every_error(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    case.write(text="")
    assert [case.look(), case.look(is_forced=True)] == [None, None]
    assert len(caplog.records) == 2
