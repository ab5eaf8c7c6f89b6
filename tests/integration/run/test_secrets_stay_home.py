"""An API key and a proxy's password are nowhere but in the worker that uses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from keyfleet.sim import SimConfig, SimLatency
from support import Place, bare_line, command_line, sim_key, wait_until, write_lines
from support.fixtures import StartSim

SECRET = "sk-verysecret0123456789abcdefghij"
PASSWORD = "pr0xy-passw0rd-xyz"
PROXY = f"http://someone:{PASSWORD}@127.0.0.1:9"
LINES = 60


def _expired(key: bytes) -> list[bytes]:
    """It was there a moment ago."""
    return []


def everything_in(client: Any) -> Iterator[bytes]:
    """Every key of the server with all it holds, as it lies in its memory."""
    for key in client.scan_iter(count=1000):
        yield key
        kind = client.type(key).decode()
        readers: dict[str, Any] = {
            "string": lambda key: [client.get(key)],
            "hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],
            "set": client.smembers,
            "zset": lambda key: client.zrange(key, 0, -1),
            "list": lambda key: client.lrange(key, 0, -1),
            "stream": lambda key: [part for _, entry in client.xrange(key) for part in entry.values()],
        }
        yield from (part for part in readers.get(kind, _expired)(key) if part is not None)


def test_no_secret_is_in_redis_logs_output_or_a_process_list(place: Place, start_sim: StartSim) -> None:
    good, behind_proxy = sim_key("good", "20/1 second", secret=SECRET), sim_key("proxied", secret=f"{SECRET}-2")
    sim = start_sim(SimConfig(keys=(good,), latency=SimLatency(latency_ms=50)))
    keys = place.write_keys(sim, (good,))
    text = keys.read_text(encoding="utf-8")
    keys.write_text(
        f"{text}- {{name: proxied, api_key: {behind_proxy.api_key},"
        f" base_url: '{sim.base_url}/v1', proxy: '{PROXY}'}}\n",
        encoding="utf-8",
    )
    keys.rename(place.directory / "kept.yaml")
    write_lines(
        place.directory / "in.jsonl", [bare_line(n, "[[sim:500x2]]" if n % 9 == 0 else "") for n in range(LINES)]
    )
    command = place.start("run", "in.jsonl", "--keys", "kept.yaml", "--log-level", "debug")
    wait_until(lambda: sim.stats()["requests"] >= LINES // 2, "half of the requests were sent")
    commands = [command_line(pid) for pid in place.pids()]
    assert len(commands) >= 5
    found = b"\n".join(everything_in(place.server_client()))
    assert command.wait() == 0, command.stderr
    place.wait_until_empty()
    written = [path for path in place.directory.rglob("*") if path.is_file() and path.name != "kept.yaml"]
    assert any("workers-" in path.name for path in written)
    assert any("appendonlydir" in str(path) for path in written)
    for secret in (SECRET, PASSWORD):
        assert secret not in "\n".join(commands)
        assert secret.encode() not in found
        assert [path.name for path in written if secret.encode() in path.read_bytes()] == []
