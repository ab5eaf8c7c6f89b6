"""Brokers with passwords, ACL users and TLS: whole jobs through them, and what is said when one can't get in."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote, urlsplit

import pytest

from keyfleet.broker import check_server, connect
from keyfleet.cli.service_exits import BROKER_AWAY_EXIT
from keyfleet.errors import BrokerUnavailable
from keyfleet.sim import SimConfig
from support import Place, ServerProcess, bare_line, lines_answered, sim_key, write_lines
from support.fixtures import StartSim
from support.forwarder import Forwarder
from support.tls_front import Certificates, TlsFront

PASSWORD = "p@ss/w:rd#%25?+ é"
LINES = 40


@pytest.fixture
def port(broker: ServerProcess) -> Iterator[int]:
    """A plain TCP port of the broker."""
    forwarder = Forwarder(broker.socket_path)
    yield urlsplit(forwarder.url).port or 0
    forwarder.close()


def run_job(place: Place, start_sim: StartSim, url: str, **settings: str) -> None:
    """A whole job with workers of its own, all through the broker at `url`."""
    key = sim_key("one")
    sim = start_sim(SimConfig(keys=(key,)))
    place.write_keys(sim, (key,))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(LINES)])
    place.settings.update(settings)
    command = place.run("run", "in.jsonl", "--workers", KEYFLEET_BROKER_URL=url)
    assert command.code == 0, command.stderr
    assert lines_answered(place.directory / "in_results.jsonl") == dict.fromkeys(range(LINES), 1)


def test_a_job_runs_behind_a_password(place: Place, start_sim: StartSim, broker: ServerProcess, port: int) -> None:
    with broker.client() as client:
        client.config_set("requirepass", PASSWORD)
    run_job(place, start_sim, f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/3")


def test_a_job_runs_behind_a_password_that_only_a_file_holds(
    place: Place, start_sim: StartSim, broker: ServerProcess, port: int
) -> None:
    with broker.client() as client:
        client.config_set("requirepass", PASSWORD)
    path = place.directory / "broker-password"
    path.write_text(PASSWORD)
    run_job(place, start_sim, f"redis://127.0.0.1:{port}/0", KEYFLEET_BROKER_PASSWORD_FILE=str(path))


def test_a_job_runs_as_an_acl_user(place: Place, start_sim: StartSim, broker: ServerProcess, port: int) -> None:
    with broker.client() as client:
        client.acl_setuser(
            "fl@et", enabled=True, passwords=[f"+{PASSWORD}"], keys=["*"], channels=["*"], categories=["+@all"]
        )
        client.acl_setuser("default", enabled=False)
    run_job(place, start_sim, f"redis://{quote('fl@et')}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/0")


@pytest.mark.parametrize(
    "options", ["ssl_ca_certs={ca}", "ssl_cert_reqs=required&ssl_ca_certs={ca}", "ssl_cert_reqs=none"]
)
def test_a_job_runs_over_tls(
    place: Place, start_sim: StartSim, broker: ServerProcess, certificates: Certificates, options: str
) -> None:
    with TlsFront(broker.socket_path, certificates.server_context()) as front:
        query = options.format(ca=quote(str(certificates.ca_path)))
        run_job(place, start_sim, f"rediss://127.0.0.1:{front.port}/0?{query}")


def test_a_job_runs_with_a_client_certificate_and_a_password(
    place: Place, start_sim: StartSim, broker: ServerProcess, certificates: Certificates
) -> None:
    with broker.client() as client:
        client.config_set("requirepass", PASSWORD)
    query = f"ssl_ca_certs={certificates.ca_path}&ssl_certfile={certificates.client_path}"
    query += f"&ssl_keyfile={certificates.client_key_path}"
    with TlsFront(broker.socket_path, certificates.server_context(wants_client=True)) as front:
        run_job(place, start_sim, f"rediss://:{quote(PASSWORD, safe='')}@127.0.0.1:{front.port}/0?{query}")


def said(place: Place, url: str, *, workers_code: int = BROKER_AWAY_EXIT) -> str:
    """What a run and a worker say of a broker that they can't use: the same one line."""
    (place.directory / "keys.yaml").write_text("keys: [{name: one, api_key: '${SECRET}'}]\n", encoding="utf-8")
    write_lines(place.directory / "in.jsonl", [bare_line(1)])
    lines = set()
    for arguments, code in ((("run", "in.jsonl", "--workers"), 2), (("worker", "--key", "one"), workers_code)):
        command = place.run(*arguments, KEYFLEET_BROKER_URL=url, SECRET="sk-nobody-knows-this-one")
        assert command.code == code
        assert "Traceback" not in command.stderr
        lines.add(command.stderr.splitlines()[-1])
    (line,) = lines
    return line


def test_a_wrong_password_is_said_without_it(place: Place, broker: ServerProcess, port: int) -> None:
    with broker.client() as client:
        client.config_set("requirepass", "another")
    line = said(place, f"redis://:wr0ng-w0rd@127.0.0.1:{port}/0")
    assert "refuses the user or password" in line
    assert "wr0ng" not in line


def test_tls_to_a_plain_port_is_said(port: int) -> None:
    url = f"rediss://:s3cret-w0rd@127.0.0.1:{port}/0"
    with connect(url, timeout_s=1.0) as client, pytest.raises(BrokerUnavailable, match=r"speaks? TLS") as found:
        check_server(client, url)  # the server may wait for the rest of a command that never comes
    assert "s3cret" not in str(found.value)


def test_no_tls_to_a_port_that_wants_it_is_said(
    place: Place, broker: ServerProcess, certificates: Certificates
) -> None:
    with TlsFront(broker.socket_path, certificates.server_context()) as front:
        line = said(place, f"redis://:s3cret-w0rd@127.0.0.1:{front.port}/0")
    assert "rediss://" in line
    assert "s3cret" not in line


def test_a_certificate_of_an_unknown_ca_is_said(
    place: Place, broker: ServerProcess, certificates: Certificates
) -> None:
    with TlsFront(broker.socket_path, certificates.server_context()) as front:
        assert "ssl_ca_certs=" in said(place, f"rediss://127.0.0.1:{front.port}/0")
        wrong_host = said(place, f"rediss://localhost:{front.port}/0?ssl_ca_certs={certificates.ca_path}")
        assert "certificate is for another host" in wrong_host
        no_file = said(place, f"rediss://127.0.0.1:{front.port}/0?ssl_ca_certs=/nowhere/ca.pem")
        assert "a file that its address names" in no_file


def test_a_missing_client_certificate_is_said(place: Place, broker: ServerProcess, certificates: Certificates) -> None:
    with TlsFront(broker.socket_path, certificates.server_context(wants_client=True)) as front:
        url = f"rediss://127.0.0.1:{front.port}/0?ssl_ca_certs={certificates.ca_path}"
        assert "client certificate" in said(place, url)


@pytest.mark.parametrize("rest", [":p/w0rd-of-mine@127.0.0.1:1", ":p#w0rd-of-mine@127.0.0.1:1"])
def test_a_password_that_is_not_encoded_is_said_without_it(place: Place, rest: str) -> None:
    line = said(place, f"redis://{rest}", workers_code=2)
    assert "%2F" in line
    assert "w0rd" not in line
