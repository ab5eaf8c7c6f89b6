"""Faults strike at the level that they name, by rate or because a prompt asks for one."""

from __future__ import annotations

import http.client
import json
import random
from collections import Counter
from time import monotonic
from typing import Any

import pytest
import requests

from keyfleet.sim import SimConfig, SimFaults, SimKey, SimLatency, SimServer, parse_limits
from keyfleet.sim.faults import FaultChooser

LIMITS = parse_limits(requests=["100/minute"], tokens=["100000/minute"])


def config(faults: SimFaults | None = None, **settings: Any) -> SimConfig:
    key = SimKey(name="one", api_key="sk-one", limits=LIMITS)
    return SimConfig(keys=(key,), faults=faults or SimFaults(), **settings)


def ask(sim: SimServer, prompt: str = "hello") -> requests.Response:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    headers = {"Authorization": "Bearer sk-one"}
    return requests.post(f"{sim.base_url}/v1/chat/completions", json=body, headers=headers, timeout=10)


@pytest.mark.parametrize(
    ("faults", "status", "kind", "code"),
    [
        (SimFaults(error_500=1), 500, "server_error", None),
        (SimFaults(error_503=1), 503, "server_error", "service_unavailable"),
        (SimFaults(refuse_content=1), 400, "invalid_request_error", "invalid_prompt"),
    ],
)
def test_an_error_fault_is_an_error_answer_and_is_charged(
    faults: SimFaults, status: int, kind: str, code: str | None
) -> None:
    with SimServer(config(faults)) as sim:
        answer = ask(sim)
        assert sim.stats()["keys"]["one"]["admitted"] == 1
    assert answer.status_code == status
    assert (answer.json()["error"]["type"], answer.json()["error"]["code"]) == (kind, code)
    assert answer.headers["x-ratelimit-remaining-requests"] == "99"


def test_a_spurious_429_names_a_wait_and_charges_nothing() -> None:
    with SimServer(config(SimFaults(spurious_429=1, spurious_retry_after_ms=1500))) as sim:
        answer = ask(sim)
        stats = sim.stats()
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert (answer.headers["retry-after-ms"], answer.headers["retry-after"]) == ("1500", "2")
    assert answer.headers["x-ratelimit-remaining-requests"] == "100"
    assert (stats["over_limit"], stats["faults"], stats["by_status"]) == (0, {"spurious_429": 1}, {"spurious_429": 1})


def test_a_reset_ends_the_connection_with_rst() -> None:
    with SimServer(config(SimFaults(reset=1))) as sim:
        with pytest.raises(requests.ConnectionError) as caught:
            ask(sim)
        assert sim.stats()["by_status"] == {"reset": 1}
    assert "Connection reset by peer" in str(caught.value)


def test_a_hang_lasts_until_the_client_leaves() -> None:
    with SimServer(config(SimFaults(hang=1))) as sim:
        connection = http.client.HTTPConnection(sim.base_url.removeprefix("http://"), timeout=10)
        body = json.dumps({"model": "m", "prompt": "a"})
        connection.request("POST", "/v1/completions", body, {"Authorization": "Bearer sk-one"})
        while sim.stats()["in_flight"] == 0:
            pass  # the request is on its way
        assert sim.stats()["by_status"] == {}
        connection.close()
        while sim.stats()["in_flight"] == 1:
            pass  # the end of the connection is on its way
        assert sim.stats()["by_status"] == {"hang": 1}


def test_a_hang_ends_without_an_answer_after_its_time() -> None:
    with SimServer(config(SimFaults(hang=1, hang_s=0.02))) as sim, pytest.raises(requests.ConnectionError) as caught:
        ask(sim)
    assert "without response" in str(caught.value)


def test_a_cut_off_answer_ends_half_way() -> None:
    with SimServer(config(SimFaults(cut_off=1))) as sim:
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            ask(sim)
        assert sim.stats()["by_status"] == {"cut_off": 1}


def test_an_invalid_answer_is_a_200_that_is_no_json() -> None:
    with SimServer(config(SimFaults(invalid_json=1))) as sim:
        answer = ask(sim)
        assert sim.stats()["answered_bodies"] == 0
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.text)


@pytest.mark.parametrize(
    ("marker", "status", "code"),
    [
        ("400", 400, "invalid_value"),
        ("401", 401, "invalid_api_key"),
        ("429", 429, "rate_limit_exceeded"),
        ("500", 500, None),
        ("529", 529, None),
        ("insufficient_quota", 429, "insufficient_quota"),
        ("slow_down", 503, "slow_down"),
        ("context_length", 400, "context_length_exceeded"),
        ("typo", 400, "unknown_sim_marker"),
    ],
)
def test_a_prompt_meets_the_fault_that_it_asks_for(marker: str, status: int, code: str | None) -> None:
    with SimServer(config()) as sim:
        answers = [ask(sim, f"please [[sim:{marker}]]") for _ in range(2)]
        assert ask(sim).status_code == 200
    assert [answer.status_code for answer in answers] == [status, status]
    assert answers[0].json()["error"]["code"] == code


def test_a_counted_marker_strikes_that_body_so_many_times() -> None:
    with SimServer(config()) as sim:
        assert [ask(sim, "a [[sim:500x2]]").status_code for _ in range(3)] == [500, 500, 200]
        assert ask(sim, "b [[sim:500x2]]").status_code == 500


def test_markers_take_turns() -> None:
    with SimServer(config()) as sim:
        assert [ask(sim, "[[sim:500x1]] [[sim:429x2]]").status_code for _ in range(4)] == [500, 429, 429, 200]


def test_faults_strike_at_their_rates_and_equal_seeds_choose_alike() -> None:
    faults = SimFaults(error_500=0.2, reset=0.1, hang=0.05)
    choosers = [FaultChooser(faults, seed) for seed in (1, 1, 2)]
    chosen = [[fault.name if fault else None for fault in map(one.choose, [b"{}"] * 10_000)] for one in choosers]
    assert chosen[0] == chosen[1] != chosen[2]
    counts = Counter(chosen[0])
    shares = {name: counts[name] / 10_000 for name in ("error_500", "reset", "hang", None)}
    assert shares == pytest.approx({"error_500": 0.2, "reset": 0.1, "hang": 0.05, None: 0.65}, abs=0.02)


def test_latency_comes_after_admission_and_refusals_have_none() -> None:
    key = SimKey(name="one", api_key="sk-one", limits=parse_limits(requests=["1/hour"]))
    with SimServer(SimConfig(keys=(key,), latency=SimLatency(latency_ms=60, jitter_ms=10))) as sim:
        began_s = monotonic()
        answer = ask(sim)
        answered_s = monotonic() - began_s
        assert ask(sim).headers["openai-processing-ms"] == "0"
    assert answered_s >= 0.05
    assert 50 <= int(answer.headers["openai-processing-ms"]) <= 70


def test_a_request_is_delayed_before_admission_by_what_the_seed_draws() -> None:
    with SimServer(config(latency=SimLatency(admission_jitter_ms=40), seed=3)) as sim:
        began_s = monotonic()
        answer = ask(sim)
        delay_s = monotonic() - began_s
    assert delay_s >= random.Random(3).uniform(0, 40) / 1000
    assert answer.headers["openai-processing-ms"] == "0"
