"""Connections as we use them: aiohttp's protocol and C parser, with strict rules for the time between two requests."""

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohappyeyeballs import start_connection
from aiohttp import (
    ClientConnectorDNSError,
    ClientProxyConnectionError,
    ClientRequest,
    ClientTimeout,
    ServerDisconnectedError,
    StreamReader,
    TCPConnector,
)
from aiohttp.client_proto import ResponseHandler

from pipeline.callback.destination import Dial
from pipeline.callback.socks import connect_on

if TYPE_CHECKING:
    from aiohttp.tracing import Trace


_WITHOUT_BODY: Final = {b"204", b"304"}
"""Statuses whose answers end with their head (RFC 9112 section 6.3), as they stand in a status line."""


class IdleConnections:
    """The connections that wait for their next request, oldest first: at most *limit*, the oldest is closed beyond it.

    aiohttp bounds connections in use; the idle ones, one per host at the least, would be bounded by nothing.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parked: dict[Wire, None] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def add(self, wire: "Wire") -> None:
        """*wire* has been given back."""
        wire.is_idle = True
        self._parked[wire] = None
        if len(self._parked) > self._limit:
            oldest = next(iter(self._parked))
            self.discard(oldest)
            oldest.close()

    def discard(self, wire: "Wire") -> None:
        """*wire* is taken again, or gone."""
        wire.is_idle = False
        self._parked.pop(wire, None)


class Wire(ResponseHandler):
    """One connection.

    Attributes:
        is_idle: it waits for its next request.
        has_answered: something has come since the last request was written.
        expired: it was aborted because the answer took too long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, idle: IdleConnections) -> None:
        super().__init__(loop)
        self._idle = idle
        self.is_idle = False
        self.has_answered = False
        self.expired = False
        self._is_closed_here = False

    @property
    def was_cut_off_unanswered(self) -> bool:
        """The peer has ended it, and nothing had come since the last request was written."""
        return self.transport is None and not (self.has_answered or self.expired or self._is_closed_here)

    def data_received(self, data: bytes) -> None:
        """Bytes that belong to no request would be read as the answer to the next one: such a connection is closed."""
        if self.is_idle:
            self._idle.discard(self)
            self.close()
            return
        if not self.has_answered:
            self.has_answered = True
            if data[9:12] in _WITHOUT_BODY:
                data = self._head_of(data)
        super().data_received(data)

    def _head_of(self, data: bytes) -> bytes:
        # A receiver that sends a body where none may be has answered all the same; without its body it is valid.
        head, end, body = data.partition(b"\r\n\r\n")
        if not body:
            return data
        self.force_close()
        return head + end

    def connection_lost(self, exc: BaseException | None) -> None:
        """The end of it, whoever wanted it."""
        self._idle.discard(self)
        super().connection_lost(exc)

    def close(self) -> None:
        """Close it, and wake whoever still reads an answer from it, which aiohttp does not."""
        payload, self._is_closed_here = self._payload, True
        super().close()
        _wake(payload)

    def abort(self) -> None:
        """As `close`, without sending what is buffered."""
        payload, self._is_closed_here = self._payload, True
        super().abort()
        _wake(payload)

    def expire(self) -> None:
        """The answer took too long. Aborting wakes whoever reads, and drops what has not been written yet."""
        self.expired = True
        if self.transport is not None:
            self.transport.abort()


def _wake(payload: StreamReader | None) -> None:
    if payload is not None and not payload.is_eof():
        payload.set_exception(ServerDisconnectedError())


class Connector(TCPConnector):
    """A connector whose connections are `Wire`s; keywords are those of aiohttp's."""

    def __init__(self, *, idle: IdleConnections, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(loop=loop, **options)
        # aiohttp has no public place for it. That it is heeded is tested: an idle connection that speaks is closed.
        self._factory = partial(Wire, loop=loop, idle=idle)  # type: ignore[assignment]  # a Wire is a ResponseHandler

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
            return await start_connection(
                self._convert_hosts_to_addr_infos(found),
                happy_eyeballs_delay=self._happy_eyeballs_delay,
                interleave=self._interleave,
                loop=self._loop,
                socket_factory=self._socket_factory,
            )
        except OSError as error:
            raise ClientProxyConnectionError(req.connection_key, error) from error
