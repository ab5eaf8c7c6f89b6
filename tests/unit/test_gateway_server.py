"""The gateway's server: its address, and its end."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest

from keyfleet.calls import Answer
from keyfleet.errors import ConfigurationError, FleetClosed
from keyfleet.gateway import protocol
from keyfleet.gateway.server import base_url_of, bind, is_loopback
from support.events import wait_until
from support.gateway_case import CHAT_BODY, RunningGateway, running_gateway
from support.serving_fleet import FakeStream, SentCall, ServedFleet, chat_answer


class HeldFleet(ServedFleet):
    """Answers once `go_on` is set; closing it ends the calls that wait."""

    def __init__(self) -> None:
        super().__init__(self._wait)
        self.go_on = threading.Event()
        self.is_closed = False

    async def _wait(self, sent: SentCall) -> Any:
        if sent.streamed:
            return FakeStream(self._events())
        await self._until_on()
        return chat_answer(sent)

    async def _events(self) -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        await self._until_on()
        yield b"data: [DONE]\n\n"

    async def _until_on(self) -> None:
        while not self.go_on.is_set():
            if self.is_closed:
                raise FleetClosed("the fleet was closed")
            await asyncio.sleep(0.01)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def fleet() -> HeldFleet:
    return HeldFleet()


@pytest.fixture
def gateway(fleet: HeldFleet) -> Iterator[RunningGateway]:
    with running_gateway(fleet) as gateway:
        yield gateway


def ended(gateway: RunningGateway) -> int:
    gateway.thread.join(20)
    (code,) = gateway.codes
    return code


def came_in(gateway: RunningGateway) -> bool:
    """Raises OSError once the server takes no more connections."""
    gateway.line().socket.close()
    return False


def test_calls_under_way_end_before_the_server_does(gateway: RunningGateway, fleet: HeldFleet) -> None:
    with gateway.line() as line, gateway.line() as idle:
        line.post()
        wait_until(lambda: fleet.sent, "the call is sent")
        gateway.stop()
        assert idle.is_ended()
        with pytest.raises(OSError, match=r"refused|reset"):
            wait_until(lambda: came_in(gateway), "nobody gets in any more")
        fleet.go_on.set()
        assert line.hear().status == 200
        assert line.is_ended()
    assert ended(gateway) == 0
    assert not fleet.is_closed


def test_what_was_sent_on_an_idle_connection_as_the_end_began_is_told_to_go_elsewhere(
    gateway: RunningGateway, fleet: HeldFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LAST_REQUESTS_S", 60.0)
    with gateway.line() as line:
        wait_until(lambda: gateway.server.server_state.connections, "the connection is there")
        gateway.stop()
        with pytest.raises(OSError, match=r"refused|reset"):
            wait_until(lambda: came_in(gateway), "nobody gets in any more")
        line.post()
        answered = line.hear()
        assert (answered.status, answered.error["code"]) == (503, "shutting_down")
        assert line.is_ended()
    assert ended(gateway) == 0
    assert not fleet.sent


class LateConnection:
    """As one that was being accepted while the others were told of the end."""

    transport = None

    def __init__(self) -> None:
        self.is_told = threading.Event()

    def shutdown(self) -> None:
        self.is_told.set()


def test_a_connection_that_comes_in_as_the_end_begins_is_told_of_it_too(
    gateway: RunningGateway, fleet: HeldFleet
) -> None:
    late, connections = LateConnection(), cast("set[Any]", gateway.server.server_state.connections)
    with gateway.line() as line:
        line.post()
        wait_until(lambda: fleet.sent, "the call is sent")
        gateway.stop()
        with pytest.raises(OSError, match=r"refused|reset"):
            wait_until(lambda: came_in(gateway), "nobody gets in any more")
        connections.add(late)
        assert late.is_told.wait(20)
        connections.discard(late)
        fleet.go_on.set()
        assert line.hear().status == 200
    assert ended(gateway) == 0


def test_a_stream_under_way_goes_on_to_its_end(gateway: RunningGateway, fleet: HeldFleet) -> None:
    with gateway.line() as line:
        line.post({**CHAT_BODY, "stream": True})
        line.hear_head()
        assert line.hear_chunk() == b"data: 1\n\n"
        gateway.stop()
        fleet.go_on.set()
        assert line.hear_chunk() == b"data: [DONE]\n\n"
    assert ended(gateway) == 0


def test_a_call_that_comes_too_late_is_sent_elsewhere(gateway: RunningGateway, fleet: HeldFleet) -> None:
    with gateway.line() as line:
        line.post()
        line.post()
        wait_until(lambda: fleet.sent, "the first call is sent")
        gateway.server._gateway.close()
        fleet.go_on.set()
        assert line.hear().status == 200
        late = line.hear()
        assert (late.status, late.error["code"], late.headers["retry-after"]) == (503, "shutting_down", "1")
        line.say(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        assert line.hear().status == 503
    assert len(fleet.sent) == 1


def test_what_is_not_over_when_the_time_is_gets_a_503(fleet: HeldFleet) -> None:
    with running_gateway(fleet, grace_s=0.1) as gateway, gateway.line() as line, gateway.line() as stream:
        line.post()
        stream.post({**CHAT_BODY, "stream": True})
        wait_until(lambda: len(fleet.sent) == 2, "the calls are sent")
        gateway.stop()
        answered = line.hear()
        assert (answered.status, answered.error["code"]) == (503, "shutting_down")
        assert b"fleet was closed" in stream.hear().body
        assert ended(gateway) == 0


def test_told_twice_it_ends_at_once() -> None:
    async def never(sent: SentCall) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError("woken")

    fleet = ServedFleet(never)
    with running_gateway(fleet) as gateway, gateway.line() as line:
        line.post()
        wait_until(lambda: fleet.sent, "the call is sent")
        gateway.stop()
        gateway.server.force_exit = True
        assert line.is_ended()
        assert ended(gateway) == 130
        assert fleet.cancelled


@pytest.mark.parametrize(
    ("host", "is_here"),
    [("127.0.0.1", True), ("localhost", True), ("127.8.8.8", True), ("0.0.0.0", False), ("", False)],
)
def test_what_is_loopback_is_known(host: str, is_here: bool) -> None:
    assert is_loopback(host) == is_here


@pytest.mark.parametrize("host", ["no.such.name.invalid", "a b", "\ud800", "x" * 300])
def test_a_host_that_is_none_is_a_wrong_option(host: str) -> None:
    with pytest.raises(ConfigurationError, match="--host"):
        is_loopback(host)


def test_a_port_that_is_taken_is_a_wrong_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"can't listen on 127.0.0.1:{port} .*in use"):
            bind("127.0.0.1", port)


def test_an_address_of_another_machine_is_too() -> None:
    with pytest.raises(ConfigurationError, match=r"can't listen on 192\.0\.2\.1:0"):
        bind("192.0.2.1", 0)


def test_answers_are_sent_without_delay() -> None:
    async def delay_is_off() -> bool:
        connected: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        with bind("127.0.0.1", 0) as listener:
            server = await asyncio.start_server(lambda _, writer: connected.set_result(writer), sock=listener)
            _, client = await asyncio.open_connection(*listener.getsockname())
            writer = await connected
            is_off = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for one in (client, writer):
                one.close()
                await one.wait_closed()
            server.close()
            await server.wait_closed()
            return bool(is_off)

    assert asyncio.run(delay_is_off())


def test_the_base_url_is_what_clients_are_to_be_given() -> None:
    with bind("127.0.0.1", 0) as listener:
        assert base_url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


@pytest.mark.parametrize("missing", ["starlette", "uvicorn", "httptools"])
@pytest.mark.parametrize("module", ["keyfleet.cli.main gateway", "keyfleet.openai_manager.serving"])
def test_a_missing_package_is_told_with_the_pip_line(missing: str, module: str) -> None:
    name, *arguments = module.split()
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {arguments!r}\n"
    code += f"import {name} as it; it.main() if {bool(arguments)} else it.serving()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("Traceback")) == (2, 0)
    assert done.stderr.endswith("pip install 'keyfleet[gateway]'\n")
