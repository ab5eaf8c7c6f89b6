"""What is refused before it reaches the fleet: bodies, types, methods and paths."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from keyfleet.gateway import GatewayTerms
from keyfleet.gateway.app import CALL_PATHS
from keyfleet.gateway.body import LARGE_BYTES, MOST_VALUES, read_members
from support.gateway_case import CHAT, CHAT_BODY, ask
from support.serving_fleet import ServedFleet

DEEP = b'{"model": "gpt", "messages": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "no JSON"),
        (b"Hi", "no JSON"),
        (b'{"model": "gpt"', "no JSON"),
        (b'{"model": "gpt"}}', "no JSON"),
        (b'{"model": "\xff"}', "not UTF-8"),
        ('{"model": "gpt"}'.encode("utf-16"), "not UTF-8"),
        (b'\xef\xbb\xbf{"model": "gpt"}', "no JSON"),
        (b'{"model": "gpt", "n": NaN}', "NaN"),
        (b'{"model": "gpt", "n": Infinity}', "Infinity"),
        (b'{"model": "\\ud800"}', "surrogate"),
        (b'{"model": "a\nb"}', "no JSON"),
        (DEEP, "nested too deeply"),
        (b"[]", "no object"),
        (b'"text"', "no object"),
        (b"null", "no object"),
        (b'{"model": "gpt", "model": "gpt-large"}', "twice"),
        (b'{"stream": false, "str\\u0065am": true, "model": "gpt"}', "twice"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/embeddings", "/v1/moderations"])
def test_what_is_no_json_object_is_refused(raw: bytes, said: str, path: str) -> None:
    fleet = ServedFleet()
    answered = ask(fleet, path, raw)
    assert (answered.status, answered.error["code"]) == (400, "invalid_json")
    assert said in answered.error["message"]
    assert not fleet.sent


def test_numbers_that_python_reads_badly_pass() -> None:
    fleet = ServedFleet()
    raw = b'{"model": "gpt", "n": 1e400, "seed": ' + b"7" * 4_000 + b"}"
    assert ask(fleet, CHAT, raw).status == 200
    assert fleet.sent[0].raw == raw


@pytest.mark.parametrize("stream", ["yes", 1, 0, [], {}])
def test_a_stream_is_wanted_or_not(stream: Any) -> None:
    answered = ask(ServedFleet(), CHAT, {**CHAT_BODY, "stream": stream})
    assert (answered.status, answered.error["param"]) == (400, "stream")


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/plain; charset=application/json",
        "text/plain;json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=json",
        "application/jsonp",
    ],
)
def test_a_type_that_a_web_page_may_send_anywhere_is_refused(content_type: str) -> None:
    fleet = ServedFleet()
    answered = ask(fleet, headers={"content-type": content_type})
    assert (answered.status, answered.error["param"]) == (400, "content-type")
    assert not fleet.sent


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8", "application/json;"])
def test_json_may_be_named_as_clients_do(content_type: str) -> None:
    assert ask(ServedFleet(), headers={"content-type": content_type}).status == 200


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 415), ("br", 415), ("identity", 200)])
def test_compressed_bodies_are_refused(encoding: str, status: int) -> None:
    assert ask(ServedFleet(), headers={"content-encoding": encoding}).status == status


def test_a_body_of_just_the_greatest_size_passes() -> None:
    raw = b'{"model": "gpt"}'
    assert ask(ServedFleet(), CHAT, raw, terms=GatewayTerms(max_body_bytes=len(raw))).status == 200


@pytest.mark.parametrize("length", ["17", "", "0"])
def test_a_body_that_is_longer_is_refused_whatever_was_declared(length: str) -> None:
    raw = b'{"model": "gpt" }'
    answered = ask(
        ServedFleet(), CHAT, raw, terms=GatewayTerms(max_body_bytes=len(raw) - 1), headers={"content-length": length}
    )
    assert (answered.status, answered.error["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/files", "/v1/chat/completions/", "/v2/models", "/%00"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PURGE"])
def test_an_unknown_path_is_a_404(path: str, method: str) -> None:
    answered = ask(ServedFleet(), path, method=method)
    assert (answered.status, answered.error["code"]) == (404, "unknown_path")


@pytest.mark.parametrize("path", CALL_PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "QUERY"])
def test_calls_are_posts(path: str, method: str) -> None:
    answered = ask(ServedFleet(), path, method=method)
    assert (answered.status, answered.headers["allow"]) == (405, "POST, OPTIONS")
    if method != "HEAD":
        assert answered.error["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt", "/healthz", "/readyz", "/openapi.json"])
def test_what_only_tells_something_is_asked_for(path: str) -> None:
    answered = ask(ServedFleet(), path, method="POST")
    assert (answered.status, answered.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    head, get = ask(ServedFleet(), path, b"", method="HEAD"), ask(ServedFleet(), path, b"", method="GET")
    assert (head.status, head.body, head.headers) == (200, b"", get.headers)
    assert int(head.headers["content-length"]) == len(get.body)


def test_options_tells_the_methods_and_grants_no_web_page_anything() -> None:
    answered = ask(ServedFleet(), method="OPTIONS", headers={"origin": "https://elsewhere.test"})
    assert (answered.status, answered.headers["allow"], answered.body) == (204, "POST, OPTIONS", b"")
    assert not [name for name in answered.headers if name.startswith("access-control")]


def test_a_large_body_is_taken_apart_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[threading.Thread] = []

    def read(body: bytes) -> Any:
        threads.append(threading.current_thread())
        return read_members(body)

    monkeypatch.setattr("keyfleet.gateway.body.read_members", read)
    assert ask(ServedFleet()).status == 200
    assert ask(ServedFleet(), CHAT, {**CHAT_BODY, "user": "x" * LARGE_BYTES}).status == 200
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


@pytest.mark.parametrize("value", [b"[],", b"{},", b"1,", b'"a",', b"[["])
def test_a_body_of_absurdly_many_values_is_refused_before_it_is_read(
    value: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyfleet.gateway.body.members_of", lambda body: pytest.fail("it was read"))
    raw = b'{"input": [' + value * (MOST_VALUES + 1)
    fleet = ServedFleet()
    answered = ask(fleet, "/v1/embeddings", raw)
    assert (answered.status, answered.error["code"]) == (400, "too_many_values")
    assert not fleet.sent


def test_room_is_taken_before_a_body_is_read() -> None:
    terms = GatewayTerms(max_held_bytes=99)
    assert ask(ServedFleet(), headers={"content-length": "100"}, terms=terms).status == 503


def test_there_is_room_for_several_of_the_longest_bodies() -> None:
    assert GatewayTerms().held_bytes == 512_000_000
    assert GatewayTerms(max_body_bytes=200_000_000).held_bytes == 800_000_000
    assert GatewayTerms(max_held_bytes=1).held_bytes == 1
