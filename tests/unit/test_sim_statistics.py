"""What the stand-in counts."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import requests
from hypothesis import given
from hypothesis import strategies as st

from keyfleet.sim import SimAnswers, SimConfig, SimKey, SimLatency, SimServer, parse_limits
from keyfleet.sim.keyring import Keyring
from keyfleet.sim.statistics import Statistics

S = 1_000_000_000
LARGER_THAN_ANY_SOCKET_BUFFER_BYTES = 20_000_000
KEYS = (
    SimKey(name="one", api_key="sk-one", limits=parse_limits(requests=["2/minute"], tokens=["1000/minute"])),
    SimKey(name="two", api_key="sk-two"),
)


def ask(sim: SimServer, prompt: str, *, key: str = "sk-two") -> int:
    body = {"model": "m", "prompt": prompt, "max_tokens": 9}
    headers = {"Authorization": f"Bearer {key}"}
    address = f"{sim.base_url}/v1/completions"
    return requests.post(address, json=body, headers=headers, timeout=10).status_code


def test_a_key_is_counted_by_its_name() -> None:
    with SimServer(SimConfig(keys=KEYS)) as sim:
        assert [ask(sim, f"prompt {n}", key="sk-one") for n in range(3)] == [200, 200, 429]
        assert ask(sim, "prompt", key="sk-nobody") == 401
        stats = sim.stats()
    assert (stats["requests"], stats["over_limit"], stats["invalid_authorization"]) == (4, 1, 1)
    assert stats["by_status"] == {"200": 2, "429": 1, "401": 1}
    assert stats["keys"] == {
        "one": {
            "requests": 3,
            "admitted": 2,
            "over_limit": 1,
            "tokens_charged": 22,
            "images_charged": 0,
            "in_flight": 0,
            "in_flight_peak": 1,
            "by_status": {"200": 2, "429": 1},
            "limits": [
                {
                    "model": "*",
                    "group": "one",
                    "of": "requests",
                    "amount": 2,
                    "window_s": 60.0,
                    "peak": 2,
                    "peak_arrived": 3,
                },
                {
                    "model": "*",
                    "group": "one",
                    "of": "tokens",
                    "amount": 1000,
                    "window_s": 60.0,
                    "peak": 22,
                    "peak_arrived": 33,
                },
            ],
        }
    }
    assert "sk-one" not in str(stats)


def test_a_body_sent_again_after_its_answer_is_counted_once() -> None:
    with SimServer(SimConfig(keys=KEYS)) as sim:
        assert [ask(sim, prompt) for prompt in ("a", "b", "a", "a")] == [200, 200, 200, 200]
        stats = sim.stats()
    assert (stats["answered_bodies"], stats["sent_after_success"], stats["concurrent_duplicates"]) == (2, 1, 0)


def test_a_body_sent_again_after_an_error_is_no_duplicate() -> None:
    with SimServer(SimConfig(keys=KEYS)) as sim:
        assert [ask(sim, "[[sim:500x1]][[sim:429x1]]") for _ in range(3)] == [500, 429, 200]
        assert sim.stats()["sent_after_success"] == 0


def begin(sim: SimServer, prompt: str) -> http.client.HTTPConnection:
    """Send a request, and leave its answer unread."""
    connection = http.client.HTTPConnection(sim.base_url.removeprefix("http://"), timeout=10)
    body = json.dumps({"model": "m", "prompt": prompt})
    connection.request("POST", "/v1/completions", body, {"Authorization": "Bearer sk-two"})
    return connection


def wait_until_in_flight(sim: SimServer, number: int) -> dict[str, Any]:
    """Ask until that many requests are under way; the test's own time limit ends a wait in vain."""
    while True:
        stats = sim.stats()
        if stats["in_flight"] == number:
            return stats


def test_a_body_under_way_twice_at_once_is_counted() -> None:
    with SimServer(SimConfig(keys=KEYS)) as sim:
        calls = [begin(sim, prompt) for prompt in ("[[sim:hang]]", "[[sim:hang]]", "other [[sim:hang]]")]
        assert wait_until_in_flight(sim, 3)["concurrent_duplicates"] == 1
        for call in calls:
            call.close()
        stats = wait_until_in_flight(sim, 0)
    assert (stats["concurrent_duplicates"], stats["in_flight_peak"]) == (1, 3)
    assert stats["by_status"] == {"hang": 3}


def test_an_answer_that_the_client_did_not_take_whole_is_no_success() -> None:
    with SimServer(SimConfig(keys=KEYS, answers=SimAnswers(answer_bytes=LARGER_THAN_ANY_SOCKET_BUFFER_BYTES))) as sim:
        left = begin(sim, "a")
        assert left.sock.recv(15, socket.MSG_WAITALL) == b"HTTP/1.1 200 OK"
        assert wait_until_in_flight(sim, 1)["by_status"] == {}
        left.close()
        stats = wait_until_in_flight(sim, 0)
        assert (stats["by_status"], stats["answered_bodies"]) == ({"client_left": 1}, 0)
        taken = begin(sim, "a")
        assert len(taken.getresponse().read()) > LARGER_THAN_ANY_SOCKET_BUFFER_BYTES
        stats = wait_until_in_flight(sim, 0)
        taken.close()
    assert (stats["by_status"], stats["answered_bodies"]) == ({"client_left": 1, "200": 1}, 1)
    assert stats["sent_after_success"] == 0


def test_a_client_that_leaves_before_its_answer_is_due_is_counted_once() -> None:
    with SimServer(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=60))) as sim:
        left = begin(sim, "left")
        wait_until_in_flight(sim, 1)
        left.close()
        wait_until_in_flight(sim, 0)
        assert ask(sim, "stays") == 200, "answered after the first answer would have been due"
        assert sim.stats()["by_status"] == {"client_left": 1, "200": 1}


def test_the_charge_is_the_prompts_and_all_output_that_every_choice_may_have() -> None:
    with SimServer(SimConfig(keys=KEYS)) as sim:
        body = {"model": "m", "prompt": ["four", "fours"], "n": 3, "max_tokens": 10}
        headers = {"Authorization": "Bearer sk-two"}
        requests.post(f"{sim.base_url}/v1/completions", json=body, headers=headers, timeout=10)
        assert sim.stats()["keys"]["two"]["tokens_charged"] == 1 + 2 + 2 * 3 * 10
        requests.post(
            f"{sim.base_url}/v1/embeddings", json={"model": "m", "input": "four"}, headers=headers, timeout=10
        )
        assert sim.stats()["keys"]["two"]["tokens_charged"] == 63 + 1
        del body["max_tokens"]
        requests.post(f"{sim.base_url}/v1/completions", json=body, headers=headers, timeout=10)
        assert sim.stats()["keys"]["two"]["tokens_charged"] == 64 + 3 + 2 * 3 * 16


def test_bodies_are_not_tracked_where_that_is_off() -> None:
    with SimServer(SimConfig(keys=KEYS, track_bodies=False)) as sim:
        assert [ask(sim, "a"), ask(sim, "a")] == [200, 200]
        assert sim.stats()["sent_after_success"] is None


def test_the_counts_stand_at_an_address_and_can_be_cleared() -> None:
    with SimServer(SimConfig(keys=KEYS)) as sim:
        assert [ask(sim, "a", key="sk-one") for _ in range(3)] == [200, 200, 429]
        assert requests.get(f"{sim.base_url}/sim/stats", timeout=10).json() == sim.stats()
        assert requests.post(f"{sim.base_url}/sim/reset", timeout=10).status_code == 200
        assert sim.stats()["requests"] == 0
        assert ask(sim, "a", key="sk-one") == 200, "what was charged is forgotten too"
        assert sim.stats()["sent_after_success"] == 0


def test_the_last_requests_are_listed_without_their_prompts() -> None:
    with SimServer(SimConfig(keys=KEYS)) as sim:
        for prompt in ("first", "second", "third"):
            ask(sim, prompt)
        listed: list[dict[str, Any]] = requests.get(f"{sim.base_url}/sim/requests?limit=2", timeout=10).json()[
            "requests"
        ]
        assert sim.requests(2) == listed
        assert requests.get(f"{sim.base_url}/sim/requests?limit=x", timeout=10).status_code == 400
    assert [one["tokens"] for one in listed] == [11, 11]
    assert {one["key"] for one in listed} == {"two"}
    assert {one["status"] for one in listed} == {"200"}
    assert listed[0]["arrived_s"] <= listed[0]["ended_s"] <= listed[1]["arrived_s"]
    assert listed[0]["body_sha256"] != listed[1]["body_sha256"]
    assert "second" not in str(listed)


def test_counts_can_be_read_after_the_end() -> None:
    with SimServer(SimConfig(keys=KEYS)) as sim:
        ask(sim, "a")
    sim.stop()
    assert sim.stats()["requests"] == 1


@given(st.lists(st.tuples(st.integers(0, 40 * S), st.integers(1, 600), st.booleans()), max_size=40))
def test_peaks_are_the_most_that_any_trailing_window_held(steps: list[tuple[int, int, bool]]) -> None:
    config = SimConfig(keys=KEYS)
    key = Keyring(config).find("sk-one")
    quota = key.quota_for("m") if key else None
    assert quota is not None
    statistics = Statistics(0, track_bodies=False)
    seen: list[tuple[int, int, bool]] = []
    now_ns = 0
    for pause_ns, tokens, admitted in steps:
        now_ns += pause_ns
        visit = statistics.arrived(now_ns, "completions", "one", None)
        statistics.met_limits(visit, quota, now_ns, tokens, admitted=admitted)
        seen.append((now_ns, tokens, admitted))
    if not seen:
        return
    windows = [[one for one in seen if end_ns - 60 * S < one[0] <= end_ns] for end_ns, _, _ in seen]
    of_requests, of_tokens = statistics.document()["keys"]["one"]["limits"]
    assert of_requests["peak_arrived"] == max(len(window) for window in windows)
    assert of_requests["peak"] == max(sum(passed for _, _, passed in window) for window in windows)
    assert of_tokens["peak"] == max(sum(tokens for _, tokens, passed in window if passed) for window in windows)
