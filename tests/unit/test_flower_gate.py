"""Who is let into Flower: credentials from files and the environment, and the question asked of each request."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from keyfleet.config import Environment
from keyfleet.errors import ConfigurationError
from keyfleet_workers.monitor.credentials import VARIABLE, Credentials
from keyfleet_workers.monitor.gate import Gate, is_loopback
from keyfleet_workers.monitor.refusal_log import RefusalLog

SECRET = "s3cret:with-a-colon"
NOBODY = Environment({})


def header(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def asked(
    path: str = "/keys", method: str = "GET", host: str = "localhost:5555", version: str = "HTTP/1.1", **headers: str
) -> HTTPServerRequest:
    line = RequestStartLine(method, path, version)
    request = HTTPServerRequest(start_line=line, headers=HTTPHeaders({"Host": host, **headers}))
    request.remote_ip = "203.0.113.9"
    return request


def test_a_user_is_known_by_the_whole_pair_alone() -> None:
    credentials = Credentials([f"alice:{SECRET}", "bob:b"])
    assert credentials.user_of(header(f"alice:{SECRET}")) == "alice"
    assert credentials.user_of(header("bob:b").replace("Basic", "basic")) == "bob"
    wrong = ["", "Basic", "Basic !!!", "Bearer b", header("bob:"), header("bob:bb"), header("alice:b"), header("böb:b")]
    assert [credentials.user_of(given) for given in wrong] == [None] * len(wrong)
    assert "alice" not in repr(credentials)


def test_pairs_come_from_the_file_and_the_environment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "users.txt"
    path.touch(mode=0o600)
    path.write_text(f"# who may\n\nalice:{SECRET}\nbob:b\n", encoding="utf-8")
    assert Credentials.find(path, Environment({VARIABLE: "carol:c dave:d"})).pairs() == [
        *(f"alice:{SECRET}", "bob:b"),
        *("carol:c", "dave:d"),
    ]
    assert caplog.messages == []
    path.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        Credentials.find(path, NOBODY)
    assert "chmod 600" in caplog.text
    assert len(Credentials.find(None, NOBODY)) == 0


@pytest.mark.parametrize("line", ["no-colon-s3cret", ":s3cret", "user:", "user:s3cret word", "user:s3crét"])
def test_what_is_no_pair_is_refused_by_its_line_and_not_shown(tmp_path: Path, line: str) -> None:
    path = tmp_path / "users.txt"
    path.write_text(f"alice:a\n{line}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="line 2: expected user:password") as refused:
        Credentials.find(path, NOBODY)
    assert "s3cr" not in str(refused.value)


def test_a_file_that_holds_nobody_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nobody\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="holds nobody"):
        Credentials.find(tmp_path / "empty.txt", NOBODY)
    with pytest.raises(ConfigurationError, match=r"--basic-auth-file: .*No such file"):
        Credentials.find(tmp_path / "none.txt", NOBODY)
    with pytest.raises(ConfigurationError, match=f"{VARIABLE}: expected user:password"):
        Credentials.find(None, Environment({VARIABLE: "s3cret"}))


def test_a_made_up_password_is_never_the_same() -> None:
    one, other = Credentials.made_up().pairs()[0], Credentials.made_up().pairs()[0]
    assert one != other
    assert len(one.partition(":")[2]) >= 24


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/tasks", "/keys", "/static/css/flower.css", "/nothing"])
def test_with_credentials_everything_asks_for_them(path: str) -> None:
    gate = Gate(Credentials(["bob:b"]), "/healthcheck")
    for method in ("GET", "POST", "OPTIONS"):
        refusal = gate.refusal(asked(path, method))
        assert refusal is not None
        assert refusal.status == 401
    request = asked(path, Authorization=header("bob:b"))
    assert (gate.refusal(request), gate.user(request)) == (None, "bob")


def test_health_alone_is_told_to_everybody() -> None:
    gate = Gate(Credentials(["bob:b"]), "/flower/healthcheck")
    assert gate.refusal(asked("/flower/healthcheck")) is None
    assert gate.refusal(asked("/flower/healthcheck", "POST")) is not None
    assert gate.refusal(asked("/healthcheck")) is not None


def test_without_credentials_only_names_of_this_machine_are_answered() -> None:
    gate = Gate(Credentials(), "/healthcheck")
    hosts = {"localhost:5555": None, "127.0.0.1": None, "[::1]:5555": None, "evil.example": 403, "10.0.0.5:5555": 403}
    found = {host: gate.refusal(asked(host=host)) for host in hosts}
    assert {host: refusal and refusal.status for host, refusal in found.items()} == hosts


SENT_ON = (
    *({"Forwarded": "for=203.0.113.9"}, {"Via": "1.1 proxy"}, {"X-Real-IP": "203.0.113.9"}),
    *({f"x-forwarded-{what}": "x"} for what in ("for", "host", "proto")),
)


@pytest.mark.parametrize("headers", SENT_ON)
def test_without_credentials_nobody_is_answered_through_a_proxy(headers: dict[str, str]) -> None:
    refusal = Gate(Credentials(), "/healthcheck").refusal(asked(**headers))
    assert refusal is not None
    assert (refusal.status, "--basic-auth-file" in refusal.words) == (403, True)
    known = asked(Authorization=header("bob:b"), **headers)
    assert Gate(Credentials(["bob:b"]), "/healthcheck").refusal(known) is None


def test_a_proxy_that_adds_no_header_is_known_by_its_old_http() -> None:
    gate = Gate(Credentials(), "/healthcheck")
    assert gate.refusal(asked(version="HTTP/1.0")) is not None
    assert gate.refusal(asked("/healthcheck", version="HTTP/1.0")) is None


def test_refusals_are_logged_at_once_and_then_once_a_second_with_their_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    planned: list[Callable[[], None]] = []
    log = RefusalLog(lambda wait_s, then: planned.append(then))
    for number in range(1000):
        log.tell(asked(f"/{number}\x1b[2J"), 401)
    planned.pop()()
    planned.pop()()
    log.tell(asked("/" + "x" * 1000), 403)
    first, rest, later = caplog.messages
    assert first == r"refused 'GET /0\x1b[2J' from 203.0.113.9 with 401"
    assert rest == r"refused 999 more, the last 'GET /999\x1b[2J' from 203.0.113.9 with 401"
    assert len(later) < 200
    assert len(planned) == 1


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((name, True) for name in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "a.localhost")),
        *((name, False) for name in ("0.0.0.0", "::", "", "10.0.0.1", "example.org", "localhost.example.org")),
    ],
)
def test_which_addresses_are_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
