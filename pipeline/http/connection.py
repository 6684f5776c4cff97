"""Connections as we use them: aiohttp's protocol and C parser, with strict rules for the time between two requests.

aiohttp has no public way to bring a protocol of one's own, so private names of it are used here and in direct.py:

    ResponseHandler  _payload, _buffer, _exception tell how much of an answer has come; without them its size is not
                     bounded, and a reader of a connection that is closed here is never woken
    TCPConnector     _factory makes the protocol; without it bytes on an idle connection answer the next request
                     _create_connection makes a connection without the pool around it
                     _resolve_host, _get_ssl_context, _wrap_existing_connection, ... do for it what they do for others

Those that would fail in silence are in PATCHES, which a worker checks before it starts.
"""

import asyncio
import select
import socket
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import (
    ClientConnectionError,
    ClientConnectorDNSError,
    ClientProxyConnectionError,
    ClientRequest,
    ClientTimeout,
    ServerDisconnectedError,
    StreamReader,
)
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from pipeline.core.patches import Patch, looks_up
from pipeline.http.destination import Dial
from pipeline.http.direct import DirectConnector
from pipeline.http.response import MAX_BODY_BYTES
from pipeline.http.socks import connect_on

if TYPE_CHECKING:
    from aiohttp.tracing import Trace


MAX_HEADER_LINE_BYTES: Final = 8190
MAX_HEADERS: Final = 128
MAX_FRAMING_BYTES: Final = 32_768
"""How much an answer may say beside its body: interim answers, its head, chunk sizes, chunk extensions, trailers."""

_PIECE_BYTES: Final = 4096
"""What the parser is given at a time of a long answer: it makes objects and copies of all that it is given."""

_MOST_UNREAD_ANSWERS: Final = 32
"""More than an exchange waits for."""

_SAYS_SOMETHING: Final = select.POLLIN | getattr(select, "POLLRDHUP", 0)


class IdleConnections:
    """The connections that wait for their next request: at most *limit*, the oldest is closed beyond it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # The oldest first, in both.
        self._parked: dict[Wire, None] = {}
        self._by_key: dict[ConnectionKey, dict[Wire, None]] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def __iter__(self) -> "Iterator[Wire]":
        return iter(self._parked)

    def add(self, wire: "Wire", seconds: float) -> None:
        """*wire* has been given back; it may wait for *seconds*."""
        wire.park(seconds)
        self._parked[wire] = None
        self._by_key.setdefault(wire.key, {})[wire] = None
        if len(self._parked) > self._limit:
            oldest = next(iter(self._parked))
            self.discard(oldest)
            oldest.close()

    def take(self, key: ConnectionKey) -> "Wire | None":
        """The one of *key* that was used last."""
        alike = self._by_key.get(key)
        if alike is None:
            return None
        wire = next(reversed(alike))
        self.discard(wire)
        return wire

    def discard(self, wire: "Wire") -> None:
        """*wire* is taken again, or gone."""
        if wire.is_idle:
            wire.is_idle = False
            del self._parked[wire]
            alike = self._by_key[wire.key]
            del alike[wire]
            if not alike:
                del self._by_key[wire.key]


class Wire(ResponseHandler):
    """One connection.

    Attributes:
        key: those with the same one go to the same place by the same way.
        is_idle: it waits for its next request.
        is_reused: it has been idle before.
        expired: it was aborted because the answer took too long.
    """

    key: ConnectionKey

    def __init__(self, loop: asyncio.AbstractEventLoop, idle: IdleConnections) -> None:
        super().__init__(loop)
        self._idle = idle
        self.is_idle = False
        self.is_reused = False
        self.expired = False
        self._idle_since = self._idle_seconds = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._is_closed_here = False
        self._received_bytes = 0
        self._first_piece: bytes | None = None

    def begin(self) -> None:
        """A request is about to be written."""
        self._received_bytes = 0
        self._payload = None
        # A new parser, for the last one may have begun with what came after its answer, and would go on with that.
        self._parse_from_here()

    def park(self, seconds: float) -> None:
        """It waits for its next request, *seconds* at most."""
        self.is_idle = self.is_reused = True
        self._idle_since, self._idle_seconds = self._loop.time(), seconds
        if self._idle_timer is None:
            # One timer serves many waits: making one per request would cost more than the rest of this.
            self._idle_timer = self._loop.call_later(seconds, self._check_idle)

    def _check_idle(self) -> None:
        self._idle_timer = None
        if not self.is_idle:
            return
        left = self._idle_since + self._idle_seconds - self._loop.time()
        if left <= 0:
            self._idle.discard(self)
            self.close()
        else:
            self._idle_timer = self._loop.call_later(left, self._check_idle)

    def is_fit(self) -> bool:
        """Whether it may be used again: it has not waited for too long, and the receiver is open and silent.

        The socket itself is asked: the event loop tells of an end that has arrived only at its next turn.
        """
        transport = self.transport
        if transport is None or self._loop.time() - self._idle_since >= self._idle_seconds:
            return False
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), _SAYS_SOMETHING)
        return not poll.poll(0)

    def _parse_from_here(self) -> None:
        self.set_response_params(
            read_until_eof=True,
            auto_decompress=False,
            max_line_size=MAX_HEADER_LINE_BYTES,
            max_field_size=MAX_HEADER_LINE_BYTES,
            max_headers=MAX_HEADERS,
        )

    @property
    def was_cut_off_unanswered(self) -> bool:
        """The peer has ended it, and nothing had come since the last request was written."""
        return self.transport is None and not (self._received_bytes or self.expired or self._is_closed_here)

    def data_received(self, data: bytes) -> None:
        """Bytes that belong to no request would be read as the answer to the next one: such a connection is closed."""
        if self.is_idle:
            self._idle.discard(self)
            self.close()
        elif self._received_bytes + len(data) <= _PIECE_BYTES:
            self._parse(data)
        else:
            self._parse_in_pieces(data)

    def _parse(self, piece: bytes) -> None:
        self._first_piece = None if self._received_bytes else piece
        self._received_bytes += len(piece)
        super().data_received(piece)
        self._first_piece = None

    def _parse_in_pieces(self, data: bytes) -> None:
        for start in range(0, len(data) or 1, _PIECE_BYTES):
            if self._has_enough():
                self._pause_transport_reading()
                return
            self._parse(data[start : start + _PIECE_BYTES])

    def _has_enough(self) -> bool:
        """Whether the rest is of no use. If nobody knows yet, whoever reads is told."""
        if self.transport is None or self._exception is not None:
            return True
        if len(self._buffer) > _MOST_UNREAD_ANSWERS:
            self.force_close()
            return True
        payload = self._payload
        if payload is None or payload is EMPTY_PAYLOAD:
            if self._received_bytes <= MAX_FRAMING_BYTES:
                return False
            self.set_exception(HttpProcessingError(message="head too long"), LineTooLong(b"", MAX_FRAMING_BYTES))
            return True
        if self._received_bytes - payload.total_bytes > MAX_FRAMING_BYTES:
            # The status has been said, and that is what counts.
            self.force_close()
            payload.feed_eof()
            return True
        return payload.total_bytes > MAX_BODY_BYTES

    def pause_reading(self) -> None:
        """Nothing: `_has_enough` bounds what is read, and aiohttp's own bound costs more than small chunks do."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Nothing, for nothing has been paused."""

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """No answer, or no more of it: whoever waits for the head is told, and, unlike in aiohttp, for the body."""
        first, self._first_piece = self._first_piece, None
        if first is not None and self._parse_head_apart(first):
            return
        if exc_cause is None:
            super().set_exception(exc)
        else:
            exc.__cause__ = exc_cause
            super().set_exception(exc, exc_cause)
        _wake(self._payload, exc)

    def _parse_head_apart(self, data: bytes) -> bool:
        # aiohttp forgets a complete answer when something that can't be read follows it in the same packet: a body
        # where none may be, or more of it than was said. In a packet of its own it would have been an answer.
        head, end, rest = data.partition(b"\r\n\r\n")
        if not rest:
            return False
        self._parse_from_here()
        super().data_received(head + end)
        super().data_received(rest)
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """The end of it, whoever wanted it."""
        self._idle.discard(self)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)

    def close(self) -> None:
        """Close it, and wake whoever still reads an answer from it, which aiohttp does not."""
        payload, self._is_closed_here = self._payload, True
        super().close()
        _wake(payload, ServerDisconnectedError())

    def abort(self) -> None:
        """As `close`, without sending what is buffered."""
        payload, self._is_closed_here = self._payload, True
        super().abort()
        _wake(payload, ServerDisconnectedError())

    def expire(self) -> None:
        """The answer took too long. What has not been written yet is dropped; whoever reads is told at once."""
        self.expired = True
        if self.transport is not None:
            self.transport.abort()
        self.set_exception(TimeoutError())


def _wake(payload: StreamReader | None, error: BaseException) -> None:
    if payload is not None and not payload.is_eof() and payload.exception() is None:
        payload.set_exception(error)


class Connector(DirectConnector):
    """A connector whose connections are `Wire`s; keywords are those of aiohttp's.

    Of aiohttp's own pool nothing is used: it bounds no idle connections, and to give one back and take it again costs
    a tenth of a delivery.
    """

    def __init__(self, *, idle: IdleConnections, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(loop=loop, **options)
        # aiohttp has no public place for it. That it is heeded is tested: an idle connection that speaks is closed.
        self._factory = partial(Wire, loop=loop, idle=idle)  # type: ignore[assignment]  # a Wire is a ResponseHandler

    async def open(self, dial: Dial, timeout: ClientTimeout) -> Wire:  # noqa: ASYNC109 - aiohttp's kind of timeout
        """A new connection, within `timeout.connect`. Raises what aiohttp does where there is none."""
        async with asyncio.timeout(timeout.connect):
            wire = cast("Wire", await self._create_connection(dial, [], timeout))
        if self.closed:
            wire.close()
            raise ClientConnectionError
        wire.key = dial.connection_key
        return wire

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: "list[Trace]",
        timeout: ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> ResponseHandler:
        # aiohttp knows no SOCKS. What it does with a socket that is connected already, TLS and errors, is its own.
        if not isinstance(req, Dial) or req.socks is None:
            return await super()._create_connection(req, traces, timeout)
        sock = await self._socket_to(req, req.socks.host, req.socks.port)
        await connect_on(req.socks, sock, req.host, req.port or 0)
        context = self._get_ssl_context(req)
        # From here on the socket belongs to the event loop, which closes it if TLS fails.
        _, protocol = await self._wrap_existing_connection(
            self._factory,
            req=req,
            timeout=timeout,
            sock=sock,
            ssl=context,
            server_hostname=None if context is None else req.server_hostname or req.host,
        )
        return protocol

    async def _socket_to(self, req: Dial, host: str, port: int) -> socket.socket:
        """A socket to the proxy at *host*, with the resolver, the errors and the many addresses of any other one."""
        try:
            found = await self._resolve_host(host, port)
        except OSError as error:
            raise ClientConnectorDNSError(req.connection_key, error) from error
        try:
            return await self._connect(self._convert_hosts_to_addr_infos(found))
        except OSError as error:
            raise ClientProxyConnectionError(req.connection_key, error) from error


class _Unread(asyncio.Transport):
    """Stands in for a socket in `_bounds_answers`."""

    is_paused = False

    def pause_reading(self) -> None:
        self.is_paused = True


def _bounds_answers() -> bool:
    """Have a connection read more of an answer than is wanted, without a socket."""
    loop = asyncio.new_event_loop()
    try:
        wire, transport = Wire(loop, IdleConnections(1)), _Unread()
        wire.connection_made(transport)
        wire.begin()
        wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (4 * MAX_BODY_BYTES))
        wire.data_received(bytes(2 * MAX_BODY_BYTES))
        return transport.is_paused and wire.exception() is None
    finally:
        loop.close()


_CONNECTOR: Final = "aiohttp.connector:TCPConnector."
_STRICT: Final = "bytes on an idle connection pass for the answer to the next request"

PATCHES: Final = (
    Patch("aiohttp", "ResponseHandler._payload", "the size of an answer is not bounded", _bounds_answers),
    Patch(
        "aiohttp",
        "TCPConnector._factory",
        _STRICT,
        looks_up(f"{_CONNECTOR}_create_direct_connection", "_factory"),
    ),
    Patch(
        "aiohttp",
        "TCPConnector._factory",
        _STRICT,
        looks_up(f"{_CONNECTOR}_start_tls_connection", "_factory"),
    ),
    Patch(
        "aiohttp",
        "TCPConnector._wrap_create_connection",
        "a name that nobody answers for holds up every new connection",
        looks_up(f"{_CONNECTOR}_create_direct_connection", "_wrap_create_connection"),
    ),
    Patch(
        "python-socks",
        "Proxy.connect",
        "a SOCKS proxy is looked up anew, past the address guard",
        looks_up("python_socks.async_.asyncio:Proxy._connect", "_forward", "connect"),
    ),
)
