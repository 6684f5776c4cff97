"""The common part of the tests' proxies: a server on loopback that forwards bytes in both directions."""

import asyncio
import contextlib
import ssl
from types import TracebackType
from typing import Final, Self

from tests.support.receiver import HOST

_PIECE_BYTES: Final = 65_536


class TunnelServer:
    """A server on loopback; an async context manager. Subclasses handle the connections.

    Args:
        tls: the TLS context, if clients connect with TLS.

    Attributes:
        port: the port of the server.
        left: set once a client has disconnected.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.left = asyncio.Event()
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a connection."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self.serve(reader, writer)
        writer.transport.abort()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()
        self.left.set()


async def tunnel(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Forward bytes in both directions until one side ends, then close the upstream connection."""
    answers, questions = upstream
    both = [asyncio.ensure_future(_pump(reader, questions)), asyncio.ensure_future(_pump(answers, writer))]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        questions.transport.abort()
        for pump in both:
            pump.cancel()
        await asyncio.gather(*both, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(_PIECE_BYTES):
            sink.write(data)
            await sink.drain()
