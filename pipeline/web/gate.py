"""Limits the connections to the pages, and the time that clients take to send requests and to read answers.

aiohttp has no such limits. A client that sends half a request on each of many connections would use up the file
descriptors that deliveries need. Clients that don't read their answers would lock out all others. `GatedRunner`
replaces the runner of Faust's web driver, so every connection passes its gate.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Any, Final

from aiohttp import web

logger = logging.getLogger(__name__)

MOST_CONNECTIONS: Final = 128
"""The largest number of open connections. A scraper, some probes and a few people use about ten."""

REQUEST_SECONDS: Final = 10.0
"""How long a client may take to send a complete head (after the connection has opened or the last answer has ended),
then to send the body, and to read an answer that fills the buffers."""

CHECKS: Final = 4
"""The number of checks per REQUEST_SECONDS. So a connection is closed at most a quarter of this time late."""

LOG_SECONDS: Final = 10.0


class Gate:
    """Makes the protocols of a server, and closes connections whose clients take too long.

    Args:
        server: aiohttp's server, which makes a protocol for each connection.
        most: the largest number of connections. If there are more, one is closed: the connection that has waited
            longest for its client; if no connection waits, the oldest with pipelined requests; if there is no such
            connection, the new one.
        request_seconds: how long a client may take for a request, or leave an answer unread.
    """

    def __init__(
        self,
        server: Callable[[], web.RequestHandler],
        *,
        most: int = MOST_CONNECTIONS,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._server = server
        self._most = most
        self._request_seconds = request_seconds
        self._connections: dict[GatedConnection, None] = {}
        self._check: asyncio.TimerHandle | None = None
        self._closed = 0
        self._logged_at = -LOG_SECONDS

    @property
    def connections(self) -> Collection["GatedConnection"]:
        """The open connections, oldest first."""
        return self._connections

    def __call__(self) -> "GatedConnection":
        """Make the protocol of a new connection."""
        return GatedConnection(self, self._server())

    def admit(self, connection: "GatedConnection") -> bool:
        """Register a connection; close another one if necessary. Returns False if no connection can be closed."""
        if len(self._connections) >= self._most:
            other = self._to_replace()
            if other is None:
                self._count_closed()
                return False
            self._close(other)
        self._connections[connection] = None
        self._check_soon()
        return True

    def forget(self, connection: "GatedConnection") -> None:
        """Remove a closed connection."""
        self._connections.pop(connection, None)
        if not self._connections and self._check is not None:
            self._check.cancel()
            self._check = None

    def _to_replace(self) -> "GatedConnection | None":
        waiting = {each: since for each in self._connections if (since := each.waiting_since()) is not None}
        if waiting:
            return min(waiting, key=waiting.__getitem__)
        return next((each for each in self._connections if each.has_more_requests), None)

    def _check_soon(self) -> None:
        if self._check is None:
            self._check = asyncio.get_running_loop().call_later(self._request_seconds / CHECKS, self._close_late)

    def _close_late(self) -> None:
        self._check = None
        now = time.monotonic()
        for each in list(self._connections):
            since = each.waiting_since()
            if since is not None and now - since >= self._request_seconds:
                self._close(each)
        if self._connections:
            self._check_soon()

    def _close(self, connection: "GatedConnection") -> None:
        if connection.has_begun:
            self._count_closed()
        self.forget(connection)
        connection.abort()

    def _count_closed(self) -> None:
        """Count a connection that was closed while in use. Log the count at intervals."""
        self._closed += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_SECONDS:
            logger.warning(
                "web: closed %d connections: a client sent no complete request or left an answer unread for %g s, "
                "or there were more than %d connections",
                self._closed,
                self._request_seconds,
                self._most,
            )
            self._closed, self._logged_at = 0, now


class GatedConnection(asyncio.Protocol):
    """A connection: aiohttp's protocol, and since when the connection has waited for its client.

    Attributes:
        has_begun: the client has sent a part of the next request, or has left an answer unread. Otherwise the
            connection is idle.
    """

    def __init__(self, gate: Gate, inner: web.RequestHandler) -> None:
        self._gate = gate
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._is_admitted = False
        self._waits_since = time.monotonic()
        self._unread_since: float | None = None
        self.has_begun = False

    @property
    def is_unread(self) -> bool:
        """Whether an unread answer fills the buffers."""
        return self._unread_since is not None

    @property
    def has_more_requests(self) -> bool:
        """Whether pipelined requests wait behind the current one (RFC 9112 section 9.3.2)."""
        in_hand = self._inner._current_request is not None  # noqa: SLF001 - there is no public way to tell
        return in_hand + len(self._inner._messages) > 1  # noqa: SLF001 - as above

    def waiting_since(self) -> float | None:
        """When the connection began to wait for its client (`time.monotonic()`); None if it does not wait.

        The wait for a request begins when the connection opens or the last answer ends; the wait for a body when the
        head has arrived; the wait for the client to read an answer when the buffers are full.
        """
        if self._unread_since is not None:
            return self._unread_since
        request = self._inner._current_request  # noqa: SLF001 - there is no public way to tell
        if request is None:
            return None if self._inner._messages else self._waits_since  # noqa: SLF001 - as above
        if request._payload.is_eof():  # noqa: SLF001 - as above
            # The request is being answered. The wait for the next request begins when the answer ends.
            self._waits_since, self.has_begun = time.monotonic(), False
            return None
        return self._waits_since

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection, or close it at once."""
        self._transport = transport  # type: ignore[assignment]  # servers have this kind of transport
        self._is_admitted = self._gate.admit(self)
        if self._is_admitted:
            self._inner.connection_made(transport)
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Pass received bytes to aiohttp's protocol."""
        if self._is_admitted:
            self.has_begun = True
            self._inner.data_received(data)
            if self._inner._messages:  # noqa: SLF001 - a complete head has arrived
                self._waits_since = time.monotonic()

    def eof_received(self) -> None:
        """Pass the end of the stream to aiohttp's protocol."""
        if self._is_admitted:
            self._inner.eof_received()

    def pause_writing(self) -> None:
        """Called when the client does not read its answer and the buffers are full."""
        self.has_begun, self._unread_since = True, time.monotonic()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Called when the client has read most of the buffered answer."""
        self._unread_since = None
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the closed connection."""
        self._gate.forget(self)
        if self._is_admitted:
            self._inner.connection_lost(exc)

    def abort(self) -> None:
        """Close the connection without sending anything more."""
        if self._transport is not None:
            self._transport.abort()


class GatedRunner(web.AppRunner):
    """An application runner whose sites share one gate for their connections."""

    _gate: Gate | None = None

    @property
    def server(self) -> Any:
        """The gate. Sites call it to make the protocol of a connection."""
        server = super().server
        if server is None:
            self._gate = None
        elif self._gate is None:
            self._gate = self.gate(server)
        return self._gate

    async def cleanup(self) -> None:
        """Close everything, including the gate: another set-up makes a new server."""
        await super().cleanup()
        self._gate = None

    def gate(self, server: web.Server) -> Gate:
        """Make a gate for *server*."""
        return Gate(server)
