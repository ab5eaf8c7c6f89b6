"""Starting the embedded server, or joining the one that another process of this user has started."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import redis

from keyfleet.broker import connect
from keyfleet.embedded.binary import find_server_binary
from keyfleet.errors import BrokerUnavailable
from keyfleet.forked import close_in_forks, forget_in_forks

__all__ = ["EmbeddedServer"]

START_S = 20.0
"""How long a server may take to load what it has and answer (s)."""

MOST_LAUNCHES = 2
"""How often it may end right after it was started; once is normal where one that was killed was still leaving."""

LOOK_S = 0.01
"""Interval of looking whether it answers (s)."""

MAX_SOCKET_PATH_BYTES = 100
"""Longest path of a unix socket that every platform takes, with room for its end."""

_guardians: list[subprocess.Popen[bytes]] = []
"""Guardians that this process has started: they may outlive it; those that ended are reaped at the next start."""


class EmbeddedServer:
    """One user's hold on the embedded server in `state_dir`. Servers of other state directories are others.

    The server runs on a private unix socket, writes an append-only file with every command synced to disk, and ends
    when its last user has gone, however it went. Children that inherit `lock_descriptor` are users too.
    """

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir / "server"
        self._lock = -1

    @property
    def socket_path(self) -> Path:
        """The server's socket; in the temporary directory where the state directory's path is too long for one."""
        path = self._dir / "server.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
            return path
        digest = hashlib.sha256(os.fsencode(self._dir)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"keyfleet-{os.getuid()}-{digest}" / "server.sock"

    @property
    def url(self) -> str:
        """The broker's address."""
        return f"unix://{self.socket_path}"

    @property
    def lock_descriptor(self) -> int:
        """The open lock; a child that inherits it keeps the server alive."""
        return self._lock

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def has_state(self) -> bool:
        """Whether a server was ever started in this state directory."""
        return (self._dir / "users.lock").exists()

    def start(self) -> None:
        """Become a user: join the server that runs, or start it. Raises BrokerUnavailable."""
        with self._starting():
            self._become_user()
            try:
                self._wait_for_answer()
            except BaseException:
                self.release()
                raise

    def restart_if_down(self) -> None:
        """Start the server again where it and its guardian were killed; waits for neither. Raises BrokerUnavailable.

        One that is frozen, loads its data or is just started again by its guardian is left alone: a second server on
        the same files would part the users between two truths.
        """
        with self._starting():
            self._launch_unless_running()

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """The lock under which servers are started, one user at a time."""
        try:
            self._dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.socket_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._check_private(self.socket_path.parent)
            starting = os.open(self._dir / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise BrokerUnavailable(
                f"the state directory {self._dir} can't be used ({error.strerror}); set KEYFLEET_STATE_DIR"
            ) from None
        try:
            fcntl.flock(starting, fcntl.LOCK_EX)
            yield
        finally:
            os.close(starting)

    def release(self) -> None:
        """Be no user any more; the server ends when nobody is."""
        if self._lock >= 0:
            forget_in_forks(self._lock)
            os.close(self._lock)
            self._lock = -1

    @staticmethod
    def _check_private(path: Path) -> None:
        """A directory that someone else made could hold someone else's server."""
        if path.stat().st_uid != os.getuid():
            raise PermissionError(1, "it belongs to another user")

    def _become_user(self) -> None:
        """Take the users' lock; waits while a guardian that got it ends its server."""
        lock = os.open(self._dir / "users.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_SH)
        close_in_forks(lock)  # a forked child that kept it would count as a user
        self._lock = lock

    def _answers(self) -> bool:
        client = connect(self.url, timeout_s=2.0)
        try:
            return bool(client.ping())
        except redis.RedisError:  # also while it loads its data
            return False
        finally:
            client.close()

    def _wait_for_answer(self) -> None:
        deadline_s = time.monotonic() + START_S
        launches = 0
        while True:
            launches += self._launch_unless_running()
            if self._answers():
                return
            if launches > MOST_LAUNCHES or time.monotonic() > deadline_s:
                raise BrokerUnavailable(f"the embedded server did not start; its log is {self._dir / 'server.log'}")
            time.sleep(LOOK_S)

    def _lock_running(self) -> int | None:
        """The lock of those that run a server, None where somebody has it."""
        lock = os.open(self._dir / "running.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _launch_unless_running(self) -> bool:
        """Start a guardian with its server, unless one of the two lives; returns whether it did."""
        running = self._lock_running()
        if running is None:
            return False
        try:
            guardian = subprocess.Popen(  # noqa: S603 - our own program
                self._guardian_command(running),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(running,),
            )
        finally:
            os.close(running)
        _guardians[:] = [*(one for one in _guardians if one.poll() is None), guardian]
        return True

    def _guardian_command(self, running: int) -> list[str]:
        return [
            *(sys.executable, "-S", "-E", str(Path(__file__).with_name("guardian.py"))),
            *(str(self._dir / "users.lock"), str(running), str(self.socket_path)),
            *(str(find_server_binary()), "--port", "0", "--unixsocket", str(self.socket_path)),
            *("--unixsocketperm", "700", "--dir", str(self._dir), "--appendonly", "yes", "--appendfsync", "always"),
            *("--save", "", "--daemonize", "no", "--loglevel", "warning", "--logfile", str(self._dir / "server.log")),
            *("--maxmemory-policy", "noeviction"),
        ]
