"""A receiver that misbehaves on command: a real HTTP/1.1 server on loopback with a script of answers.

    async with Receiver(answer(503), reset, answer(200)) as receiver:
        ... call receiver.url ...
    assert [request.body for request in receiver.requests] == [b"a", b"a", b"a"]

Each request gets the next behaviour of the script; the last one is repeated. A behaviour is an async function of an
`Exchange`. When it returns, the next request of the connection is read, unless the behaviour has closed the connection.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Request:
    """A received request. Names of headers are in lower case."""

    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int

    def header(self, name: str) -> str | None:
        """The value of the first header with this name."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def all(self, name: str) -> list[str]:
        """All values of the headers with this name."""
        return [value for key, value in self.headers if key == name.lower()]


@dataclass(slots=True)
class Exchange:
    """The request and the connection that a behaviour gets.

    Attributes:
        released: an event of the receiver, for which `held` waits.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: Request
    released: asyncio.Event

    async def send(self, data: bytes) -> None:
        """Write *data* unchanged."""
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Return when the client has closed the connection."""
        with contextlib.suppress(OSError):
            while await self.reader.read(65_536):
                pass


Behaviour = Callable[[Exchange], Awaitable[None]]


def answer(status: int = 200, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()) -> Behaviour:
    """A complete, correct answer."""
    lines = [f"HTTP/1.1 {status} -", f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers)]
    return raw("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


def raw(data: bytes, *, then_close: bool = False) -> Behaviour:
    """Exactly these bytes."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(data)
        if then_close:
            exchange.writer.close()

    return behave


def endless(start: bytes, piece: bytes) -> Behaviour:
    """*start*, then *piece* repeatedly, until the client closes the connection."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(start)
        while not exchange.writer.is_closing():
            await exchange.send(piece)
            await asyncio.sleep(0)

    return behave


def in_pieces(*pieces: bytes) -> Behaviour:
    """Each piece in a separate packet."""

    async def behave(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.send(piece)
            await asyncio.sleep(0.002)  # without a pause, pieces arrive as one

    return behave


def stalled(start: bytes) -> Behaviour:
    """*start*, then nothing, until the client closes the connection."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(start)
        await exchange.gone()

    return behave


async def silent(exchange: Exchange) -> None:
    """No answer, until the client closes the connection."""
    await exchange.gone()


async def hang_up(exchange: Exchange) -> None:
    """Close the connection without an answer."""
    exchange.writer.close()


async def reset(exchange: Exchange) -> None:
    """Reset the connection (RST)."""
    sock = exchange.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.writer.transport.abort()


def held(behaviour: Behaviour) -> Behaviour:
    """*behaviour*, after `Receiver.release` was called."""

    async def behave(exchange: Exchange) -> None:
        await exchange.released.wait()
        await behaviour(exchange)

    return behave


class Receiver:
    """The server; an async context manager.

    Args:
        script: the behaviours; by default `answer()`.
        tls: the TLS context of the server, for https.
        host: a loopback address.
        reads_body: whether the receiver reads bodies; False leaves them to the behaviours, like a server that answers
            after the head.

    Attributes:
        requests: the received requests, in order.
        connections: the number of accepted connections.
        open_connections: the number of open connections.
    """

    def __init__(
        self, *script: Behaviour, tls: ssl.SSLContext | None = None, host: str = HOST, reads_body: bool = True
    ) -> None:
        self.script = list(script) or [answer()]
        self.host, self.port = host, 0
        self.requests: list[Request] = []
        self.connections = 0
        self.open_connections = 0
        self._tls = tls
        self._reads_body = reads_body
        self._released = asyncio.Event()
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """The URL of the receiver."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}/hook"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def release(self) -> None:
        """Let the `held` behaviours continue."""
        self._released.set()

    async def until(self, condition: Callable[["Receiver"], bool], seconds: float = 5.0) -> None:
        """Return when *condition* holds. It is checked when a request arrives or a connection opens or closes.

        Raises:
            TimeoutError: the condition does not hold after *seconds*.
        """
        async with asyncio.timeout(seconds):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    async def speak_unasked(self, data: bytes) -> None:
        """Write *data* to every open connection without a request."""
        for writer in list(self._writers):
            writer.write(data)
            await writer.drain()

    async def hang_up_all(self) -> None:
        """Close every open connection, like a server after its keep-alive time."""
        for writer in list(self._writers):
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.open_connections += 1
        self._writers.add(writer)
        self._changed.set()
        # The client has disconnected, or the receiver stops. asyncio's streams would report a cancelled handler as an
        # error.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._converse(reader, writer, self.connections)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self._writers.discard(writer)
        self.open_connections -= 1
        self._changed.set()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while not writer.is_closing():
            request = await read_request(reader, connection, reads_body=self._reads_body)
            self.requests.append(request)
            self._changed.set()
            behaviour = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            await behaviour(Exchange(reader, writer, request, self._released))


async def read_request(reader: asyncio.StreamReader, connection: int = 0, *, reads_body: bool = True) -> Request:
    """Read one request. A body that is read must have a Content-Length.

    Raises:
        asyncio.IncompleteReadError: the client has disconnected.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    headers = tuple((name.lower(), value.strip(" \t")) for name, _, value in (text.partition(":") for text in lines))
    length = next((int(value) for name, value in headers if name == "content-length"), 0)
    return Request(line, headers, await reader.readexactly(length) if reads_body else b"", connection)
