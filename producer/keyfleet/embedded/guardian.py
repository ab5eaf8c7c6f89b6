"""Runs the embedded server as long as it has users, then ends it. A program of its own, kept free of other imports.

Arguments: the path of the users' lock, the descriptor of the lock of those that run a server, the path of the socket,
then the server's command line. Every user holds the users' lock shared, and children inherit it; whoever is killed lets
go of it. So when the guardian gets it exclusively, the last user has gone, whatever became of it. The running lock is
held by the guardian and its server, so that nobody starts a second server while either lives.

Weakness: only Linux ends the server with a guardian that was killed; elsewhere it stays until it is ended by hand.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import threading

SHUTDOWN_S = 30.0
"""How long the server may take to write what it has and end (s)."""

RESTART_S = 0.2
"""Pause before a server that ended by itself is started again (s)."""

PR_SET_PDEATHSIG = 1
"""The number in linux/prctl.h."""

MOST_RESTARTS = 20
"""Ends in a row after which the guardian leaves, so that its users say what is wrong."""


def main(lock_path: str, running: int, socket_path: str, command: list[str]) -> int:
    """Keep the server running until its last user has gone, and stop it; returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_keep_running, args=(command, running), daemon=True).start()
    lock = os.open(lock_path, os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    _stop_server()
    if os.path.exists(socket_path):  # noqa: PTH110 - pathlib would double this program's start-up time
        os.unlink(socket_path)  # noqa: PTH108 - as above
    os.close(running)  # before the users' lock, for whoever waits for that looks at this one next
    return 0


_server: subprocess.Popen[bytes] | None = None
_stopping = threading.Event()


def _keep_running(command: list[str], running: int) -> None:
    global _server  # noqa: PLW0603 - the one thing this program owns
    for _ in range(MOST_RESTARTS):
        _server = subprocess.Popen(  # noqa: S603 - the command of our own parent
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=(running,),
            preexec_fn=_end_with_guardian if sys.platform == "linux" else None,  # noqa: PLW1509 - forks no lock of ours
        )
        _server.wait()
        if _stopping.wait(RESTART_S):
            return
    os._exit(1)


def _end_with_guardian() -> None:
    """In the server, before it begins: ask Linux to end it with the thread that started it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop_server() -> None:
    _stopping.set()
    if _server is None:
        return
    _server.send_signal(signal.SIGTERM)
    try:
        _server.wait(SHUTDOWN_S)
    except subprocess.TimeoutExpired:
        _server.kill()
        _server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
