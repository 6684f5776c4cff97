"""A forward proxy for tests: absolute-form for http (RFC 9112 section 3.2.2), tunnels for https (RFC 9110 9.3.6)."""

import asyncio
import contextlib
import ssl
from types import TracebackType
from typing import Final, Self

from tests.receiver import HOST, Request, read_request

_REFUSAL: Final = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


class ForwardProxy:
    """The proxy; an async context manager.

    Args:
        authorization: the value of Proxy-Authorization that it wants, if it wants one.
        tls: the proxy's context, for a proxy that is spoken to in TLS.

    Attributes:
        requests: the heads that it was sent, CONNECT or POST.
    """

    def __init__(self, authorization: str | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.port = 0
        self._authorization = authorization
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'http' if self._tls is None else 'https'}://{HOST}:{self.port}"

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
            await self._serve(reader, writer)
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        self.requests.append(request)
        if request.header("proxy-authorization") != self._authorization:
            writer.write(_REFUSAL)
            await writer.drain()
            return
        method, target, _ = request.line.split(" ")
        authority = target if method == "CONNECT" else target.removeprefix("http://").partition("/")[0]
        host, _, port = authority.rpartition(":")
        upstream_reader, upstream = await asyncio.open_connection(host, int(port))
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                upstream.write(_forwarded(request, target.removeprefix(f"http://{authority}")))
            # One request per connection is enough here: what follows on it goes through unread.
            both = [
                asyncio.ensure_future(_pump(reader, upstream)),
                asyncio.ensure_future(_pump(upstream_reader, writer)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in both:
                    pump.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        finally:
            upstream.transport.abort()


def _forwarded(request: Request, path: str) -> bytes:
    lines = [f"{name}: {value}" for name, value in request.headers if not name.startswith("proxy-")]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + request.body


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        sink.write(data)
        await sink.drain()
