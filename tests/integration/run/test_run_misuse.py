"""Bad input and misuse: a clear message and exit code 2; giving up: exit code 3."""

from __future__ import annotations

import pytest

from keyfleet.sim import SimConfig
from support import Place, bare_line, rows_of, sim_key, write_lines
from support.fixtures import StartSim

KEY = sim_key("a")
KEYS_HEAD = "keys:\n  - name: a\n    api_key: sk-not-real\n"


def prepare(place: Place, lines: int = 3, text: str = "") -> None:
    write_lines(place.directory / "in.jsonl", [bare_line(n, text) for n in range(1, lines + 1)])


def test_no_keys_at_all_says_what_to_do(place: Place) -> None:
    prepare(place)
    done = place.run("run", "in.jsonl")
    assert done.code == 2
    assert done.said("keyfleet init")
    assert done.said("OPENAI_API_KEY")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (f"{KEYS_HEAD}    requets: 5/minute\n", "line 4: "),
        (f"{KEYS_HEAD}  - name: a\n    api_key: sk-other\n", "line 4: "),
        (f"{KEYS_HEAD}    requests: [five per minute]\n", "500/minute"),
        (f"{KEYS_HEAD}    requests: [5/minute\n", "keys.yaml, line"),
        ("keys: []\n", "at least one key"),
    ],
    ids=["unknown field", "duplicate name", "bad limit", "no YAML", "empty"],
)
def test_a_keys_file_that_can_not_be_used_is_named_with_its_line(place: Place, keys: str, said: str) -> None:
    prepare(place)
    (place.directory / "keys.yaml").write_text(keys, encoding="utf-8")
    done = place.run("run", "in.jsonl")
    assert done.code == 2
    assert done.said("keys.yaml, line")
    assert done.said(said), done.stderr
    assert "sk-not-real" not in done.stderr
    assert not (place.directory / "in_results.jsonl").exists()


def test_an_unreachable_broker_is_named_without_its_password(place: Place) -> None:
    prepare(place)
    done = place.run("run", "in.jsonl", "--broker", "redis://:hidden@127.0.0.1:9/0")
    assert done.code == 2
    assert done.said("127.0.0.1:9")
    assert "hidden" not in done.stderr


def test_an_output_that_can_not_be_written_is_named(place: Place) -> None:
    prepare(place)
    (place.directory / "keys.yaml").write_text(KEYS_HEAD, encoding="utf-8")
    done = place.run("run", "in.jsonl", "-o", "nowhere/out.jsonl")
    assert done.code == 2
    assert done.said("nowhere")


def test_a_secret_on_the_command_line_is_refused_and_not_repeated(place: Place) -> None:
    prepare(place)
    done = place.run("run", "in.jsonl", "--api_key", "sk-typed-in")
    assert done.code == 2
    assert done.said("OPENAI_API_KEY")
    assert "sk-typed-in" not in done.stderr


def test_a_hundred_equal_errors_stop_the_job_unless_it_is_told_to_go_on(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=(KEY,)))
    place.write_keys(sim, (KEY,))
    prepare(place, 400, "[[sim:400]]")
    stopped = place.run("run", "in.jsonl", "--concurrency", "4")
    assert stopped.code == 3, stopped.stderr
    assert stopped.said("--no-stop-early")
    assert 100 <= len(rows_of(place.directory / "in_results.jsonl")) < 400
    went_on = place.run("run", "in.jsonl", "--no-stop-early")
    assert went_on.code == 1, went_on.stderr
    assert len(rows_of(place.directory / "in_results.jsonl")) == 400


def test_a_run_without_any_outcome_gives_up_when_told_to(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=(KEY,)))
    place.write_keys(sim, (KEY,))
    prepare(place, 2, "[[sim:hang]]")
    done = place.run("run", "in.jsonl", "--give-up-after", "1s", "--timeout", "5s", "--timeout-attempts", "1")
    assert done.code == 3, done.stderr
    assert done.said("--give-up-after")


def test_a_key_that_is_refused_ends_the_job_and_is_named(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=(KEY,)))
    place.write_keys(sim, (sim_key("a", secret="sk-somebody-elses"),))
    prepare(place)
    done = place.run("run", "in.jsonl")
    assert done.code == 3, done.stderr
    assert done.said("every key is refused")
    assert done.said("invalid_api_key")
