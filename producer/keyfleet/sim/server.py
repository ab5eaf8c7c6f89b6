"""Running the stand-in: in the foreground, or in a thread of the calling process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from keyfleet.errors import ConfigurationError
from keyfleet.sim.config import Behaviour, SimConfig
from keyfleet.sim.protocol import HttpConnection
from keyfleet.sim.provider import Provider
from keyfleet.sim.routes import Router

__all__ = ["SimServer", "serve_forever"]

T = TypeVar("T")

_BACKLOG_CONNECTIONS = 1024
_STDIN_READ_BYTES = 4096


class _Listener:
    """The listening socket and the connections it accepted."""

    def __init__(self, provider: Provider, host: str, port: int) -> None:
        self._router = Router(provider)
        self._host = host
        self._port = port
        self._connections: set[HttpConnection] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        """Listen, and return the base URL. Raises ConfigurationError where the address can't be used."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: HttpConnection(self._router.handle, self._connections),
                self._host,
                self._port,
                backlog=_BACKLOG_CONNECTIONS,
            )
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigurationError(
                f"port: can't listen on {self._host}:{self._port} ({reason})", setting="port"
            ) from None
        port = self._server.sockets[0].getsockname()[1]
        return f"http://{f'[{self._host}]' if ':' in self._host else self._host}:{port}"

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.abort()
            await self._server.wait_closed()
            # Aborted transports tell their protocols, and close their sockets, in the loop's next round.
            await asyncio.sleep(0)


def serve_forever(
    config: SimConfig,
    host: str,
    port: int,
    *,
    on_ready: Callable[[str], None] | None = None,
    until_stdin_closes: bool = False,
) -> None:
    """Serve until SIGINT or SIGTERM, or until standard input ends where that is asked for; main thread only.

    `on_ready` gets the base URL. Raises ConfigurationError where the address can't be used.
    """
    asyncio.run(_serve(config, host, port, on_ready, until_stdin_closes))


async def _serve(
    config: SimConfig, host: str, port: int, on_ready: Callable[[str], None] | None, until_stdin_closes: bool
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if until_stdin_closes:
        loop.add_reader(0, _stop_at_the_end_of_stdin, stop)
    listener = _Listener(Provider(config), host, port)
    base_url = await listener.open()
    if on_ready is not None:
        on_ready(base_url)
    await stop.wait()
    await listener.close()


def _stop_at_the_end_of_stdin(stop: asyncio.Event) -> None:
    if not os.read(0, _STDIN_READ_BYTES):
        asyncio.get_running_loop().remove_reader(0)
        stop.set()


class SimServer:
    """The stand-in in a thread of this process, with its own event loop.

        with SimServer(config) as sim:
            requests.post(f"{sim.base_url}/v1/chat/completions", ...)
            assert sim.stats()["over_limit"] == 0

    It shares this process's interpreter; to measure other code, use `SimProcess`. `clock_ns` is what limits and
    counts go by, monotonic, in nanoseconds; latency and hangs take real time.
    """

    def __init__(
        self,
        config: SimConfig,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.base_url = ""
        self._provider = Provider(config, clock_ns=clock_ns)
        self._listener = _Listener(self._provider, host, port)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> SimServer:
        """Serve from now on. Raises ConfigurationError where the address can't be used."""
        ready: Future[str] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="keyfleet-sim", daemon=True)
        self._thread.start()
        self.base_url = ready.result()
        return self

    def stop(self) -> None:
        """End all connections and the thread; counts can still be read."""
        if self._loop is None or self._stop is None or self._thread is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed already: this was called twice
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop = None

    def stats(self) -> dict[str, Any]:
        """The counts, as at `/sim/stats`."""
        return self._in_loop(self._provider.stats)

    def requests(self, limit: int) -> list[dict[str, Any]]:
        """The last requests that are over, as at `/sim/requests`."""
        return self._in_loop(lambda: self._provider.statistics.recent(limit))

    def reset(self) -> None:
        """Forget all counts and all that was charged."""
        self._in_loop(self._provider.reset)

    def set_behaviour(self, name: str, behaviour: Behaviour) -> None:
        """From now on, until a reset, the key `name` (`*`: every key) behaves so. Raises ConfigurationError."""
        self._in_loop(lambda: self._provider.set_behaviour(name, behaviour))

    def reconfigure(self, config: SimConfig) -> None:
        """Go on with another configuration; counts stay, and what was charged to limits that stay the same."""
        self._in_loop(lambda: self._provider.reconfigure(config))

    def __enter__(self) -> SimServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, ready: Future[str]) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: Future[str]) -> None:
        stop = self._stop = asyncio.Event()
        try:
            base_url = await self._listener.open()
        except ConfigurationError as error:
            ready.set_exception(error)
            return
        self._loop = asyncio.get_running_loop()
        ready.set_result(base_url)
        await stop.wait()
        await self._listener.close()

    def _in_loop(self, function: Callable[[], T]) -> T:
        """Run in the loop's thread, which alone touches the counts; directly when it doesn't run."""
        loop = self._loop
        if loop is None:
            return function()
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                outcome.set_result(function())
            except BaseException as error:
                outcome.set_exception(error)

        loop.call_soon_threadsafe(run)
        return outcome.result()
