"""`keyfleet sim` as a command and as a child process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from keyfleet.cli.sim import sim
from keyfleet.errors import ConfigurationError
from keyfleet.sim import SimConfig, SimKey, SimProcess, SimServer, parse_limits

CONFIG = SimConfig(keys=(SimKey(name="one", api_key="sk-one", limits=parse_limits(requests=["2/minute"])),))
STARTS_A_CHILD_AND_WAITS = """
import sys
from keyfleet.sim import SimConfig, SimProcess
sim = SimProcess(SimConfig(accept_any_key=True)).start()
print(sim.base_url, flush=True)
sys.stdin.read()
"""


def ask(base_url: str) -> int:
    body = {"model": "m", "prompt": "a"}
    headers = {"Authorization": "Bearer sk-one"}
    return requests.post(f"{base_url}/v1/completions", json=body, headers=headers, timeout=10).status_code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_announces_its_address_and_a_signal_ends_it_with_success(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "keyfleet.cli.sim", "--port", "0", "--requests-per-minute", "1", "--kind", "fixed"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        base_url = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
        assert f"{base_url}/sim/stats" in line
        assert requests.get(f"{base_url}/sim/stats", timeout=10).json()["requests"] == 0
        child.send_signal(number)
        assert child.wait(10) == 0


def test_a_child_process_serves_and_ends_when_told() -> None:
    with SimProcess(CONFIG) as process:
        assert [ask(process.base_url) for _ in range(3)] == [200, 200, 429]
        assert process.stats()["keys"]["one"]["over_limit"] == 1
        process.reset()
        assert process.stats()["requests"] == 0
        base_url = process.base_url
    assert process.pid is None
    with pytest.raises(requests.ConnectionError):
        ask(base_url)


def test_a_child_process_ends_with_its_parent() -> None:
    command = [sys.executable, "-c", STARTS_A_CHILD_AND_WAITS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        base_url = parent.stdout.readline().strip()
        with socket.create_connection(("127.0.0.1", int(base_url.rsplit(":", 1)[1])), timeout=10) as connection:
            connection.sendall(b"GET /sim/stats HTTP/1.1\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
            parent.kill()
            with connection.makefile("rb") as stream:
                stream.read()  # returns when the stand-in ends the connection, and fails after 10 s if it lives on
            parent.wait(10)


def test_an_address_that_is_taken_is_an_error_that_names_it() -> None:
    with SimServer(CONFIG) as taken:
        port = int(taken.base_url.rsplit(":", 1)[1])
        with pytest.raises(ConfigurationError, match=f"port: can't listen on 127.0.0.1:{port}"):
            SimServer(CONFIG, port=port).start()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config", "{file}", "--key", "sk-made-up"], "don't go with --config"),
        (["--config", "{file}"], "kind: expected one of sliding, token_bucket, fixed"),
        (["--config", "{file}.gone"], "can't be read"),
        (["--kind", "leaky"], "'leaky' is not one of"),
        (["--port", "70000"], "70000 is not in the range"),
    ],
)
def test_misuse_ends_with_code_2_and_says_what_is_wrong(tmp_path: Path, arguments: list[str], expected: str) -> None:
    path = tmp_path / "sim.yaml"
    path.write_text("accept_any_key: true\nkind: leaky\n")
    result = CliRunner().invoke(sim, [argument.format(file=path) for argument in arguments])
    assert result.exit_code == 2
    assert expected in result.output


def test_the_times_of_a_stream_are_options() -> None:
    command = [sys.executable, "-m", "keyfleet.cli.sim", "--port", "0"]
    command += ["--first-token-ms", "20", "--token-interval-ms", "10"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        base_url = next(word for word in child.stdout.readline().split() if word.startswith("http://"))
        body = {"model": "m", "prompt": "a b c", "stream": True}
        headers = {"Authorization": "Bearer sk-any"}
        answer = requests.post(f"{base_url}/v1/completions", json=body, headers=headers, timeout=10)
        seen = requests.get(f"{base_url}/sim/requests", timeout=10).json()["requests"][0]
        child.terminate()
        child.wait(10)
    assert answer.headers["openai-processing-ms"] == "20"
    assert seen["ended_s"] - seen["arrived_s"] >= 0.039, "the first token and two intervals"


def test_help_names_the_options_and_their_variables() -> None:
    text = CliRunner().invoke(sim, ["--help"]).output
    for name in (
        "--host",
        "--port",
        "--config",
        "--key",
        "--latency-ms",
        "--token-interval-ms",
        "--kind",
        "KEYFLEET_SIM_PORT",
        "/sim/stats",
    ):
        assert name in text
    assert "--config-from-parent" not in text
