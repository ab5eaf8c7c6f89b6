"""Where keys and options come from: the cookbook's command line, the environment, `.env`."""

from __future__ import annotations

import json
from collections import Counter

from keyfleet.sim import SimConfig
from support import Place, bare_line, lines_answered, rows_of, sim_key, write_lines
from support.fixtures import StartSim

LINES = 12


def test_the_cookbooks_own_command_line_works(place: Place, start_sim: StartSim) -> None:
    key = sim_key("a")
    sim = start_sim(SimConfig(keys=(key,)))
    lines = [
        json.dumps({"model": "text-embedding-3-small", "input": f"{n}\n", "metadata": {"n": n}}) for n in range(LINES)
    ]
    write_lines(place.directory / "in.jsonl", lines)
    done = place.run(
        *("run", "--requests_filepath", "in.jsonl", "--save_filepath", "saved.jsonl"),
        *("--request_url", f"{sim.base_url}/v1/embeddings"),
        *("--max_requests_per_minute", "1500", "--max_tokens_per_minute", "6250000"),
        *("--token_encoding_name", "cl100k_base", "--max_attempts", "5", "--logging_level", "20"),
        OPENAI_API_KEY=key.api_key,
    )
    assert done.code == 0, done.stderr
    rows = rows_of(place.directory / "saved.jsonl")
    assert sorted(row[2]["n"] for row in rows) == list(range(LINES))
    assert {row[1]["object"] for row in rows} == {"list"}


def test_keys_and_their_limits_come_from_the_environment_as_openai_manager_has_them(
    place: Place, start_sim: StartSim
) -> None:
    keys = (sim_key("one"), sim_key("two"))
    sim = start_sim(SimConfig(keys=keys))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    done = place.run(
        *("run", "in.jsonl"),
        OPENAI_API_KEY_1=keys[0].api_key,
        OPENAI_API_KEY_2=keys[1].api_key,
        OPENAI_BASE_URL=f"{sim.base_url}/v1",
        REQUESTS_PER_MIN_LIMIT="6",
    )
    assert done.code == 0, done.stderr
    assert done.said("OPENAI_API_KEY_1, OPENAI_API_KEY_2")
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, LINES + 1))
    assert {key["requests"] for key in sim.stats()["keys"].values()} == {6}


def test_keys_and_options_are_read_from_a_dotenv_file(place: Place, start_sim: StartSim) -> None:
    key = sim_key("one")
    sim = start_sim(SimConfig(keys=(key,)))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    (place.directory / ".env").write_text(
        f"OPENAI_API_KEY={key.api_key}\nOPENAI_BASE_URL={sim.base_url}/v1\nKEYFLEET_LIMIT=5\nKEYFLEET_ORDERED=1\n",
        encoding="utf-8",
    )
    done = place.run("run", "in.jsonl")
    assert done.code == 0, done.stderr
    assert list(lines_answered(place.directory / "in_results.jsonl")) == [1, 2, 3, 4, 5]


def test_a_keys_file_that_is_found_is_the_only_source(place: Place, start_sim: StartSim) -> None:
    key = sim_key("filed")
    sim = start_sim(SimConfig(keys=(key,)))
    place.write_keys(sim, (key,))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    done = place.run("run", "in.jsonl", OPENAI_API_KEY="sk-never-used")
    assert done.code == 0, done.stderr
    assert done.said("keys: 1 from ./keys.yaml")
    assert sim.stats()["invalid_authorization"] == 0
