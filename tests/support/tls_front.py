"""A port that speaks TLS in front of a server that doesn't: the clients' side of TLS is the same."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from pathlib import Path
from types import TracebackType

import trustme

__all__ = ["Certificates", "TlsFront"]

PIECE_BYTES = 1 << 16


class Certificates:
    """A CA of the test's own, with a certificate for 127.0.0.1 and one for a client; files in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self._server = self._authority.issue_cert("127.0.0.1")
        client = self._authority.issue_cert("keyfleet@test.example")
        self.ca_path = directory / "ca.pem"
        self.client_path, self.client_key_path = directory / "client.pem", directory / "client.key"
        self._authority.cert_pem.write_to_path(str(self.ca_path))
        client.cert_chain_pems[0].write_to_path(str(self.client_path))
        client.private_key_pem.write_to_path(str(self.client_key_path))

    def server_context(self, *, wants_client: bool = False) -> ssl.SSLContext:
        """What a server with these certificates uses."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.configure_cert(context)
        if wants_client:
            self._authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class TlsFront:
    """Passes TLS connections on to the unix socket `to`, in a thread of its own, while the block lasts."""

    def __init__(self, to: Path, context: ssl.SSLContext) -> None:
        self._to = to
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._pipes: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> TlsFront:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10.0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)

    async def _end(self) -> None:
        self._server.close()
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        try:
            there, back = await asyncio.open_unix_connection(str(self._to))
            await asyncio.gather(_carry(reader, back), _carry(there, writer))
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._pipes.discard(task)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(PIECE_BYTES):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # one side was cut, and so is the other
    finally:
        with contextlib.suppress(OSError):
            writer.close()
