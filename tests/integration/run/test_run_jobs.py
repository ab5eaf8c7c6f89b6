"""`keyfleet run` from its input to its output, with a server and workers of its own."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from typing import Any

from keyfleet.sim import SimConfig, SimProcess
from support import Place, bare_line, batch_line, lines_answered, rows_of, sim_key, write_lines
from support.fixtures import StartSim


def assert_clean(sim: SimProcess, requests: int) -> dict[str, Any]:
    """The stand-in saw each request once, and none above a limit."""
    stats = sim.stats()
    assert (stats["over_limit"], stats["sent_after_success"], stats["concurrent_duplicates"]) == (0, 0, 0)
    assert stats["requests"] == requests
    return stats


def test_a_job_goes_through_three_keys_with_each_line_once_and_none_above_a_limit(
    place: Place, start_sim: StartSim
) -> None:
    keys = (
        sim_key("a", "40/1 second"),
        sim_key("b", "60/1 second"),
        sim_key("c", "100/1 second", tokens="4000/1 second"),
    )
    sim = start_sim(SimConfig(keys=keys))
    place.write_keys(sim, keys)
    write_lines(place.directory / "in.jsonl", [bare_line(n, metadata={"row": n}) for n in range(1, 301)])
    command = place.run("run", "in.jsonl")
    assert command.code == 0, command.stderr
    rows = rows_of(place.directory / "in_results.jsonl")
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, 301))
    for request, answer, metadata in rows:
        assert request == json.loads(bare_line(metadata["row"]))
        assert answer["object"] == "chat.completion"
    stats = assert_clean(sim, 300)
    assert all(stats["keys"][key.name]["requests"] for key in keys)
    assert command.said("300 succeeded, 0 failed")
    assert command.said("keys: 3 from ./keys.yaml")
    place.wait_until_empty()


def test_batch_lines_end_in_an_output_and_an_errors_file(place: Place, start_sim: StartSim) -> None:
    keys = (sim_key("a"),)
    sim = start_sim(SimConfig(keys=keys))
    place.write_keys(sim, keys)
    texts = {7: "[[sim:400]]", 9: "[[sim:500]]"}
    lines = [batch_line(n, texts.get(n, "")) for n in range(1, 31)]
    write_lines(place.directory / "in.jsonl", [*lines, batch_line(3)])
    command = place.run("run", "in.jsonl", "-o", "out.jsonl", "--max-attempts", "2")
    assert command.code == 1, command.stderr
    answered = rows_of(place.directory / "out.jsonl")
    assert sorted(row["custom_id"] for row in answered) == sorted(f"id-{n}" for n in range(1, 31) if n not in texts)
    assert all(row["error"] is None and row["response"]["status_code"] == 200 for row in answered)
    assert all(set(row) == {"id", "custom_id", "response", "error"} for row in answered)
    assert all(row["response"]["body"]["object"] == "chat.completion" for row in answered)
    refused = {
        (row["custom_id"], row["response"]["status_code"] if row["response"] else None) for row in failures(place)
    }
    assert refused == {("id-7", 400), ("id-9", 500), ("id-3", None)}
    twice = next(row for row in failures(place) if row["custom_id"] == "id-3")
    assert twice["error"]["code"] == "duplicate_custom_id"
    assert "line 31" in twice["error"]["message"]


def failures(place: Place) -> list[Any]:
    return rows_of(place.directory / "out.errors.jsonl")


def test_an_ordered_output_is_in_input_order_though_a_line_waits_in_backoff(place: Place, start_sim: StartSim) -> None:
    keys = (sim_key("a"), sim_key("b"))
    sim = start_sim(SimConfig(keys=keys))
    place.write_keys(sim, keys)
    lines = [bare_line(n, "[[sim:500x1]]" if n == 2 else "") for n in range(1, 61)]
    write_lines(place.directory / "in.jsonl", ["", *lines, "no JSON"])
    command = place.run("run", "in.jsonl", "--ordered")
    assert command.code == 1, command.stderr
    rows = rows_of(place.directory / "in_results.jsonl")
    assert [row[0]["messages"][0]["content"].split()[1] for row in rows[:-1]] == [f"{n:05d}" for n in range(1, 61)]
    assert rows[-1][0] == "no JSON"
    assert "line 62" in rows[-1][1][0]
    assert_clean(sim, 61)


def test_gzip_with_a_byte_order_mark_crlf_and_blank_lines_is_read_as_it_is(place: Place, start_sim: StartSim) -> None:
    keys = (sim_key("a"),)
    sim = start_sim(SimConfig(keys=keys))
    place.write_keys(sim, keys)
    text = "\ufeff" + "\r\n\r\n".join(bare_line(n) for n in range(1, 41))
    (place.directory / "in.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    command = place.run("run", "in.jsonl.gz")
    assert command.code == 0, command.stderr
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, 41))
    assert_clean(sim, 40)


def test_standard_input_is_read_and_says_that_it_can_not_be_resumed(place: Place, start_sim: StartSim) -> None:
    keys = (sim_key("a"),)
    sim = start_sim(SimConfig(keys=keys))
    place.write_keys(sim, keys)
    text = "".join(bare_line(n) + "\n" for n in range(1, 41)) + "no JSON\n\n"
    command = place.run("run", "-", "-o", "out.jsonl", stdin=text.encode())
    assert command.code == 1, command.stderr
    assert lines_answered(place.directory / "out.jsonl") == Counter(range(1, 41))
    assert len(rows_of(place.directory / "out.jsonl")) == 41
    assert command.said("can't be resumed")


def test_a_line_that_can_not_be_sent_becomes_an_error_line_that_names_it(place: Place, start_sim: StartSim) -> None:
    keys = (sim_key("a", tokens="500/1 second"),)
    sim = start_sim(SimConfig(keys=keys))
    place.write_keys(sim, keys, models={"sim-*": {"tokens": ["500/1 second"]}})
    bad = {
        2: "{no JSON",
        3: '["no object"]',
        4: '{"model": "sim-model"}',
        5: bare_line(5, stream=True),
        6: json.dumps({"messages": [{"role": "user", "content": "x"}]}),
        7: bare_line(7, model="elsewhere-1"),
        8: bare_line(8, max_tokens=501),
        9: json.dumps({"model": "sim-model", "messages": []}),
    }
    write_lines(place.directory / "in.jsonl", [bad.get(n, bare_line(n)) for n in range(1, 21)])
    command = place.run("run", "in.jsonl")
    assert command.code == 1, command.stderr
    rows = rows_of(place.directory / "in_results.jsonl")
    errors = {text for row in rows if isinstance(row[1], list) for text in row[1]}
    assert len(rows) == 20
    assert len(errors) == len(bad)
    for number in bad:
        assert any(f"line {number}" in text for text in errors), f"line {number} is not named"
    assert any("'elsewhere-1'" in text for text in errors)
    assert any("501" in text or "more than the largest limit" in text for text in errors)
    assert "{no JSON" in [row[0] for row in rows]
    assert lines_answered(place.directory / "in_results.jsonl") == Counter({n for n in range(1, 21) if n not in bad})
    assert_clean(sim, 12)


def test_limit_tries_the_first_lines_and_a_later_run_goes_on_behind_them(place: Place, start_sim: StartSim) -> None:
    keys = (sim_key("a"),)
    sim = start_sim(SimConfig(keys=keys))
    place.write_keys(sim, keys)
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, 31)])
    assert place.run("run", "in.jsonl", "--limit", "10").code == 0
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, 11))
    assert place.run("run", "in.jsonl").code == 0
    assert lines_answered(place.directory / "in_results.jsonl") == Counter(range(1, 31))
    assert_clean(sim, 30)
