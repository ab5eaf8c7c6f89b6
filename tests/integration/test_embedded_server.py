"""The embedded server comes and goes with its users, whatever becomes of them or of it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from keyfleet.broker import ServerWatch, check_server, connect
from keyfleet.embedded import EmbeddedServer
from keyfleet.embedded.binary import find_server_binary
from keyfleet.errors import BrokerUnavailable

USER = """
import sys
from pathlib import Path
from keyfleet.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print(server.url, flush=True)
sys.stdin.read()
"""


def wait_until_ended(state_dir: Path) -> None:
    """Wait until neither a server nor its guardian is left: both hold this lock."""
    with (state_dir / "server" / "running.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def call(server: EmbeddedServer, *command: str) -> Any:
    with connect(server.url) as client:
        return client.execute_command(*command)


def facts(server: EmbeddedServer) -> dict[str, Any]:
    found = call(server, "INFO", "server")
    assert isinstance(found, dict)
    return found


def parent_of(pid: int) -> int:
    found = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A state directory whose server has ended before the directory goes."""
    with tempfile.TemporaryDirectory(prefix="kf-") as name:
        yield Path(name)
        if (Path(name) / "server" / "running.lock").exists():
            wait_until_ended(Path(name))


@pytest.fixture
def running(state_dir: Path) -> Iterator[EmbeddedServer]:
    """A server with one user."""
    with EmbeddedServer(state_dir) as server:
        yield server


def test_the_server_is_new_enough_and_private(running: EmbeddedServer) -> None:
    with connect(running.url) as client:
        check_server(client, running.url)
    assert running.socket_path.stat().st_mode & 0o077 == 0
    assert running.socket_path.parent.stat().st_mode & 0o077 == 0


def test_the_server_syncs_every_write_and_evicts_nothing(running: EmbeddedServer) -> None:
    with connect(running.url) as client:
        found = client.config_get("append*", "maxmemory-policy", "port")
    assert isinstance(found, dict)
    assert (found["appendonly"], found["appendfsync"]) == ("yes", "always")
    assert (found["maxmemory-policy"], found["port"]) == ("noeviction", "0")


def test_a_second_user_joins_and_the_last_one_ends_the_server(state_dir: Path, running: EmbeddedServer) -> None:
    with EmbeddedServer(state_dir) as second:
        assert facts(second)["run_id"] == facts(running)["run_id"]
        running.release()
        assert call(second, "PING")
    wait_until_ended(state_dir)
    assert not running.socket_path.exists()


def test_a_user_who_comes_as_the_last_one_leaves_has_a_server(state_dir: Path) -> None:
    for _ in range(20):
        with EmbeddedServer(state_dir) as server:
            assert call(server, "INCR", "users")
    with EmbeddedServer(state_dir) as server:
        assert call(server, "GET", "users") == b"20"


def test_users_who_start_at_once_share_one_server(state_dir: Path) -> None:
    servers = [EmbeddedServer(state_dir) for _ in range(5)]
    threads = [threading.Thread(target=server.start) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({facts(server)["run_id"] for server in servers}) == 1
    for server in servers:
        server.release()


def test_the_server_of_a_killed_user_ends(state_dir: Path) -> None:
    command = [sys.executable, "-c", USER, str(state_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        assert user.stdout.readline().startswith("unix://")
        user.kill()
    wait_until_ended(state_dir)


def test_a_child_that_inherits_the_lock_is_a_user_too(state_dir: Path, running: EmbeddedServer) -> None:
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    kept = (running.lock_descriptor,)
    with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=kept) as child:
        running.release()
        assert call(running, "PING")
        assert child.stdin is not None
        child.stdin.close()
    wait_until_ended(state_dir)


def test_data_survive_the_server(state_dir: Path) -> None:
    with EmbeddedServer(state_dir) as first:
        before = facts(first)["run_id"]
        call(first, "SET", "a", "1")
    wait_until_ended(state_dir)
    with EmbeddedServer(state_dir) as second:
        assert facts(second)["run_id"] != before
        assert call(second, "GET", "a") == b"1"


def test_a_server_that_was_killed_is_started_again_with_its_data(state_dir: Path, running: EmbeddedServer) -> None:
    call(running, "SET", "a", "1")
    os.kill(facts(running)["process_id"], signal.SIGKILL)
    with EmbeddedServer(state_dir) as second:
        assert call(second, "GET", "a") == b"1"


def test_a_server_killed_with_its_guardian_is_started_again_with_its_data(
    state_dir: Path, running: EmbeddedServer
) -> None:
    call(running, "SET", "a", "1")
    pid = facts(running)["process_id"]
    for victim in (parent_of(pid), pid):
        os.kill(victim, signal.SIGKILL)
    with EmbeddedServer(state_dir) as second:
        assert call(second, "GET", "a") == b"1"
        assert call(running, "GET", "a") == b"1"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_server_does_not_outlive_a_killed_guardian(state_dir: Path, running: EmbeddedServer) -> None:
    os.kill(parent_of(facts(running)["process_id"]), signal.SIGKILL)
    wait_until_ended(state_dir)


def test_a_frozen_server_is_not_doubled(state_dir: Path, running: EmbeddedServer) -> None:
    before = facts(running)
    os.kill(before["process_id"], signal.SIGSTOP)
    try:
        running.restart_if_down()
    finally:
        os.kill(before["process_id"], signal.SIGCONT)
    assert facts(running)["run_id"] == before["run_id"]


def test_a_path_too_long_for_a_socket_is_no_obstacle(state_dir: Path) -> None:
    deep = state_dir / ("d" * 120)
    with EmbeddedServer(deep) as server:
        assert len(os.fsencode(server.socket_path)) <= 100
        assert call(server, "PING")
        assert EmbeddedServer(deep).socket_path == server.socket_path
        assert EmbeddedServer(state_dir / ("e" * 120)).socket_path != server.socket_path
    wait_until_ended(deep)
    server.socket_path.parent.rmdir()


def test_a_state_directory_that_can_not_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerUnavailable, match=r"file.*KEYFLEET_STATE_DIR"):
        EmbeddedServer(tmp_path / "file").start()


def test_a_watch_notices_a_restart_before_anything_is_done_there(state_dir: Path, running: EmbeddedServer) -> None:
    changes: list[bool] = []
    watch = ServerWatch(refuse_first=True)
    watch.tell_changes_to(lambda: changes.append(watch.changed))
    client = connect(running.url, watch=watch)
    client.ping()
    client.connection_pool.disconnect()
    client.ping()
    assert changes == []
    os.kill(facts(running)["process_id"], signal.SIGKILL)
    with EmbeddedServer(state_dir):  # waits until it is back
        pass
    with pytest.raises(redis.ConnectionError, match="restarted"):
        client.set("a", "1")
    assert changes == [True]
    watch.dealt_with()
    client.set("a", "2")
    assert (changes, watch.changed) == ([True], False)
    client.close()


@pytest.mark.parametrize(("version", "is_used"), [("v=7.0.15", True), ("v=6.2.1", False), ("nonsense", False)])
def test_a_server_on_the_path_is_used_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, is_used: bool
) -> None:
    found = tmp_path / "redis-server"
    found.write_text(f"#!/bin/sh\necho Redis server {version} sha=0\n")
    found.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert (find_server_binary() == found) is is_used
