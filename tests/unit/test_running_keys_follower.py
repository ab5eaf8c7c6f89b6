"""A run follows its keys file: what it takes on is what the keys can do now."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from keyfleet.config import Environment, KeySource, find_keys
from keyfleet.running.keys_follower import LOOK_S, TICK_S, KeysFollower
from keyfleet.running.options import RunOptions

OPTIONS = RunOptions(input_name="in.jsonl", requests_per_minute=90)


class Followed:
    """A keys file that was last changed long ago, and a run that follows it on a clock of the test's."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "keys.yaml"
        self.now_s = 0.0
        self.changes = 0
        self.write("one")

    def write(self, *names: str) -> None:
        self.path.write_text("keys:\n" + "".join(f"  - {{name: {name}, api_key: '${{KEY}}'}}\n" for name in names))
        self.changes += 1
        changed_s = time.time() - 1000 + self.changes
        os.utime(self.path, (changed_s, changed_s))

    def read(self) -> KeySource:
        return find_keys(option_path=self.path, env=Environment({}), cwd=self.path.parent, requests_per_minute=90)

    def follower(self, read_at_s: float | None = None) -> KeysFollower:
        at_s = time.time() if read_at_s is None else read_at_s
        return KeysFollower(self.read(), OPTIONS, read_at_s=at_s, clock=lambda: self.now_s)


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


def names_of(source: KeySource | None) -> list[str]:
    assert source is not None
    return [key.name for key in source.keys]


def test_a_file_that_stays_as_it_was_says_nothing(followed: Followed) -> None:
    follower = followed.follower()
    assert follower.look() is None
    assert names_of(follower.source) == ["one"]


def test_a_changed_file_is_read_with_the_options_of_the_run_within_a_second(followed: Followed) -> None:
    follower = followed.follower()
    follower.look()
    followed.write("one", "two")
    assert follower.look() is None, "it looked again too early"
    followed.now_s += LOOK_S
    found = follower.look()
    assert names_of(found) == names_of(follower.source) == ["one", "two"]
    assert found is not None
    assert all(key.limits and key.limits.requests[0].amount == 90 for key in found.keys)


def test_what_changed_after_the_keys_were_read_and_before_the_run_began_is_found(followed: Followed) -> None:
    before = followed.read()
    followed.write("one", "two")
    read_at_s = followed.path.stat().st_mtime + TICK_S / 2
    follower = KeysFollower(before, OPTIONS, read_at_s=read_at_s, clock=lambda: followed.now_s)
    assert names_of(follower.look()) == ["one", "two"]


def test_a_file_that_is_wrong_changes_nothing_and_is_logged_with_its_line(
    followed: Followed, caplog: pytest.LogCaptureFixture
) -> None:
    follower = followed.follower()
    followed.write("one", "not a name")
    assert follower.look() is None
    assert names_of(follower.source) == ["one"]
    assert f"{followed.path}, line 3" in caplog.text


def test_keys_of_the_environment_stay_as_they_are() -> None:
    source = find_keys(option_path=None, env=Environment({"OPENAI_API_KEY": "sk-of-one"}), cwd=Path("/nowhere"))
    follower = KeysFollower(source, OPTIONS, read_at_s=0.0)
    assert follower.look() is None
    assert follower.source is source
