"""`keyfleet gateway` with a server and workers of its own, asked by the official client and by hand."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator

import openai as official
import pytest

from keyfleet.sim import SimConfig, SimLatency, SimProcess
from support.commands import Command, start_command
from support.events import wait_until
from support.fixtures import StartSim
from support.gateway_process import listening
from support.place import Place, sim_key

KEYS = tuple(sim_key(name) for name in ("first", "second"))
API_KEY = "gateway-key-1"


@pytest.fixture
def sim(place: Place, start_sim: StartSim) -> SimProcess:
    sim = start_sim(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=20)))
    place.write_keys(sim, KEYS)
    path = place.directory / "api-keys.txt"
    path.write_text(f"# for the tests\n{API_KEY}\n", encoding="utf-8")
    path.chmod(0o600)
    return sim


@pytest.fixture
def gateway(place: Place, sim: SimProcess) -> Command:
    return place.start("gateway", "--port", "0", "--api-key-file", "api-keys.txt")


@pytest.fixture
def client(gateway: Command) -> Iterator[official.OpenAI]:
    with official.OpenAI(base_url=listening(gateway), api_key=API_KEY, max_retries=0) as client:
        yield client


def test_whatever_the_official_client_sends_is_answered_with_all_keys(place: Place, start_sim: StartSim) -> None:
    limited = tuple(sim_key(key.name, "30/minute") for key in KEYS)  # less for each than all calls together
    sim = start_sim(SimConfig(keys=limited))
    place.write_keys(sim, limited)
    gateway = place.start("gateway", "--port", "0")
    with official.OpenAI(base_url=listening(gateway), api_key="any", max_retries=0) as client:
        chat = client.chat.completions.with_raw_response.create(model="m", messages=[{"role": "user", "content": "Hi"}])
        assert chat.parse().choices[0].message.content == "Hi"
        assert chat.headers["x-keyfleet-key"] in ("first", "second")
        assert chat.headers["x-keyfleet-attempts"] == "1"
        texts = [f"text {number}" for number in range(40)]
        completion = client.completions.create(model="m", prompt=texts, max_tokens=3)
        assert [(choice.index, choice.text) for choice in completion.choices] == list(enumerate(texts))
        embeddings = client.embeddings.create(model="m", input=texts)
        assert [one.index for one in embeddings.data] == list(range(40))
        moderation = client.moderations.create(input=["a", "b", "c"])
        assert len(moderation.results) == 3
        assert client.responses.create(model="m", input="Hi").output_text == "Hi"
    stats = sim.stats()
    assert stats["over_limit"] == 0
    assert all(stats["keys"][key.name]["requests"] > 10 for key in limited)

    gateway.signal(signal.SIGTERM)
    assert gateway.wait() == 0, gateway.stderr
    assert "Traceback" not in gateway.stderr
    place.wait_until_empty()


def test_errors_are_the_official_ones(client: official.OpenAI, sim: SimProcess) -> None:
    with pytest.raises(official.BadRequestError) as refused:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "[[sim:400]]"}])
    assert refused.value.code == "invalid_value"
    with pytest.raises(official.AuthenticationError) as unknown:
        client.with_options(api_key="wrong").chat.completions.create(model="m", messages=[])
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(official.NotFoundError):
        client.files.list()
    with pytest.raises(official.BadRequestError) as nameless:
        client.embeddings.create(model="", input="a")
    assert nameless.value.param == "model"
    assert sim.stats()["requests"] == 1


def test_many_callers_at_once_each_get_their_own_answer(gateway: Command) -> None:
    async def ask_all() -> list[str | None]:
        async with official.AsyncOpenAI(base_url=listening(gateway), api_key=API_KEY) as client:
            answers = await asyncio.gather(
                *(
                    client.chat.completions.create(model="m", messages=[{"role": "user", "content": f"text {number}"}])
                    for number in range(200)
                )
            )
        return [answer.choices[0].message.content for answer in answers]

    assert asyncio.run(ask_all()) == [f"text {number}" for number in range(200)]


def test_a_call_under_way_ends_before_the_gateway_does(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=1500)))
    place.write_keys(sim, KEYS)
    gateway = place.start("gateway", "--port", "0")

    async def ask() -> str | None:
        async with official.AsyncOpenAI(base_url=listening(gateway), api_key="any") as client:
            call = asyncio.ensure_future(
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
            )
            await asyncio.to_thread(wait_until, lambda: sim.stats()["in_flight"] == 1, "the call is at the provider")
            gateway.signal(signal.SIGINT)
            return (await call).choices[0].message.content

    assert asyncio.run(ask()) == "Hi"
    assert gateway.wait() == 0, gateway.stderr
    assert gateway.said("anybody on this machine may use it")


def test_an_address_that_cant_be_had_is_told_before_anything_is_started(place: Place, sim: SimProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = place.run("gateway", "--port", port)
    assert (command.code, command.stdout) == (2, "")
    assert command.said(f"can't listen on 127.0.0.1:{port}")
    command = place.run("gateway", "--host", "0.0.0.0", "--port", "0")
    assert command.code == 2
    assert command.said("--api-key-file FILE or KEYFLEET_GATEWAY_API_KEYS")
    assert not place.state_dir.exists()


def test_openai_managers_server_serves_openai_managers_keys(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=KEYS))
    env = {
        **place.env,
        "OPENAI_API_KEY_1": "sk-of-first",
        "OPENAI_API_KEY_2": "sk-of-second",
        "OPENAI_BASE_URL": f"{sim.base_url}/v1",
    }
    arguments = ("--port", "0", "--host", "localhost", "--api_key", "my-own")
    program = ("-m", "keyfleet.openai_manager.serving")
    serving = start_command(arguments, cwd=place.directory, env=env, program=program)
    try:
        with official.OpenAI(base_url=listening(serving), api_key="my-own", max_retries=0) as client:
            completion = client.completions.create(model="m", prompt=["a", "b", "c"], max_tokens=2)
            assert [choice.text for choice in completion.choices] == ["a", "b", "c"]
            with pytest.raises(official.AuthenticationError):
                client.with_options(api_key="sk-123").completions.create(model="m", prompt="a")
        assert serving.stderr.count("every process of this machine can read --api_key") == 1
        serving.signal(signal.SIGTERM)
        assert serving.wait() == 0, serving.stderr
    finally:
        serving.end()


def test_told_twice_it_ends_though_calls_are_under_way(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=KEYS, latency=SimLatency(latency_ms=60_000)))
    place.write_keys(sim, KEYS)
    gateway = place.start("gateway", "--port", "0")
    port = int(listening(gateway).split(":")[2].split("/")[0])
    with socket.create_connection(("127.0.0.1", port)) as line:
        raw = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        line.sendall(head % len(raw) + raw)
        wait_until(lambda: sim.stats()["in_flight"] == 1, "the call is at the provider")
        gateway.signal(signal.SIGINT)
        wait_until(lambda: is_refused(port), "the gateway takes no more connections")
        gateway.signal(signal.SIGINT)
        assert gateway.wait() == 130, gateway.stderr
        assert line.recv(1) == b""


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False
