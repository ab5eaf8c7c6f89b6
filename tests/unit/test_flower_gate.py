"""Who is let into Flower: credentials from files and the environment, and the question asked of each request."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest
from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine

from keyfleet.config import Environment
from keyfleet.errors import ConfigurationError
from keyfleet_workers.monitor.credentials import VARIABLE, Credentials
from keyfleet_workers.monitor.gate import Gate, is_loopback

SECRET = "s3cret:with-a-colon"
NOBODY = Environment({})


def header(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def asked(path: str = "/keys", method: str = "GET", host: str = "localhost:5555", **headers: str) -> HTTPServerRequest:
    line = RequestStartLine(method, path, "HTTP/1.1")
    return HTTPServerRequest(start_line=line, headers=HTTPHeaders({"Host": host, **headers}))


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


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost", "a.localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "", "10.0.0.1", "example.org")),
    ],
)
def test_which_addresses_are_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
