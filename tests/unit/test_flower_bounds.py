"""What strangers can't do to Flower: fill its memory, use its connections up, go unnoticed."""

from __future__ import annotations

import asyncio
import logging
import resource

import pytest

from keyfleet_workers.monitor import bounded_server
from keyfleet_workers.monitor.bounded_server import MAX_BODY_BYTES
from keyfleet_workers.monitor.credentials import Credentials
from support.flower_case import Answers, terms

BOB = Credentials(["bob:b"])
AS_BOB = b"Authorization: Basic Ym9iOmI=\r\n"
HEALTH = b"GET /healthcheck HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(length: int, more: bytes = b"") -> bytes:
    """The headers of a request whose body is still to come."""
    return b"POST /tasks/datatable HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n" % (more, length)


async def status_of(port: int, request: bytes) -> int:
    """HTTP's status of the answer; 0 where the connection is closed without any."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        line = await reader.readline()
    except ConnectionError:
        return 0
    finally:
        writer.close()
    return int(line.split()[1]) if line else 0


def test_strangers_are_refused_before_they_send_a_body(answers: Answers) -> None:
    assert answers.served(terms(credentials=BOB), lambda port: status_of(port, post(MAX_BODY_BYTES))) == 401


def test_a_refusal_ends_the_connection_of_who_goes_on_sending(answers: Answers) -> None:
    async def ask(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(MAX_BODY_BYTES) + b"a" * 100)
        answer = await reader.read()
        writer.close()
        return answer

    answer = answers.served(terms(credentials=BOB), ask)
    assert b"Connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_a_body_that_is_too_long_is_refused_by_its_length_to_those_who_are_let_in(answers: Answers) -> None:
    found = answers.served(terms(credentials=BOB), lambda port: status_of(port, post(MAX_BODY_BYTES + 1, AS_BOB)))
    assert found == 400


def test_connections_beyond_the_bound_are_closed_and_served_again_when_some_have_ended(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bounded_server, "MOST_CONNECTIONS", 3)

    async def ask(port: int) -> list[int]:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        beyond = [await status_of(port, HEALTH) for _ in range(5)]
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        while (after := await status_of(port, HEALTH)) == 0:
            await asyncio.sleep(0)
        return [*beyond, after]

    with caplog.at_level(logging.WARNING):
        assert answers.served(terms(), ask) == [0, 0, 0, 0, 0, 200]
    assert [line for line in caplog.messages if "connections" in line] == [
        "3 connections are open, as many as may be: others are closed"
    ]


def test_where_few_files_may_be_opened_half_of_them_are_for_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(128, 4096), (1024, 4096), (1 << 20, 1 << 20), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)]
    found = []
    for limit in limits:
        monkeypatch.setattr(resource, "getrlimit", lambda which, limit=limit: limit)
        found.append(bounded_server._most_connections())
    assert found == [64, 512, 512, 512]


def test_who_is_refused_is_logged_with_the_address_and_who_only_polls_is_not(
    answers: Answers, caplog: pytest.LogCaptureFixture
) -> None:
    polls = b"GET /keys/api/overview HTTP/1.1\r\nHost: localhost\r\n" + AS_BOB + b"\r\n"
    nothing = polls.replace(b"/keys/api/overview", b"/nothing")

    async def ask(port: int) -> list[int]:
        return [await status_of(port, request) for request in (polls, HEALTH, post(0), nothing)]

    with caplog.at_level(logging.INFO):
        assert answers.served(terms(credentials=BOB), ask) == [200, 200, 401, 404]
    assert [line for line in caplog.messages if line.startswith("refused")] == [
        "refused 'POST /tasks/datatable' from 127.0.0.1 with 401"
    ]
    assert [line.partition(" (")[0] for line in caplog.messages if "GET" in line] == ["404 GET /nothing"]
