"""What a worker tells through remote control of its connection to the broker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keyfleet.broker import celery_url
from keyfleet.tickets import make_app
from keyfleet_workers.ticket_transport import guard_tickets

PASSWORD = "p4ss/w0rd"


@pytest.mark.parametrize(
    "url",
    [
        "unix://:p4ss%2Fw0rd@/tmp/s.sock",
        "redis://:p4ss%2Fw0rd@host:6379/2",
        "redis://user:p4ss%2Fw0rd@host:6379/2",
        "rediss://:p4ss%2Fw0rd@host:6380/0?ssl_keyfile=/key.pem&ssl_certfile=/cert.pem&ssl_password=p4ss%2Fw0rd",
    ],
)
def test_a_connection_can_be_told_of_as_json_without_passwords(url: str) -> None:
    app = make_app(celery_url(url), "main")
    guard_tickets(app, lambda: None)
    connection: Any = app.connection_for_read()
    told = json.dumps(connection.info())
    assert "p4ss" not in told
    assert '"transport": "redis"' in told
    assert "p4ss" not in connection.as_uri()
    assert "host" in connection.info()["hostname"] or "s.sock" in connection.info()["hostname"]
    app.close()
