"""How many connections the pages take, and for how long one may owe a request.

aiohttp bounds neither: whoever opens connections and sends half a request on each would take the file descriptors that
deliveries need. `GatedRunner` stands in for the runner of Faust's web driver; every connection goes through its gate.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

logger = logging.getLogger(__name__)

MOST_CONNECTIONS: Final = 128
"""Open at a time; a scraper, some probes and a person or two need ten."""

REQUEST_SECONDS: Final = 10.0
"""For a whole head from the opening or the last answer, and for a whole body from its head."""

CHECKS: Final = 4
"""A connection is closed after at most REQUEST_SECONDS and one part of so many of them."""

LOG_SECONDS: Final = 10.0


class Gate:
    """Makes the protocols of a server, and closes the connections that owe a request.

    Args:
        server: aiohttp's, which makes one protocol for each connection.
        most: connections at a time. When one more comes, the one that has owed a request for longest makes room; where
            all are being answered, the new one is closed.
        request_seconds: how long one may owe a request.
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
        self._spoke_at = -LOG_SECONDS

    def __call__(self) -> "GatedConnection":
        """The protocol of a new connection."""
        return GatedConnection(self, self._server())

    def admit(self, connection: "GatedConnection") -> bool:
        """Whether there is room for a connection, if need be in place of another."""
        if len(self._connections) >= self._most:
            owing = [each for each in self._connections if each.owes_request]
            if not owing:
                self._count_closed()
                return False
            self._close(min(owing, key=lambda each: each.owes_since))
        self._connections[connection] = None
        self._check_soon()
        return True

    def forget(self, connection: "GatedConnection") -> None:
        """The connection is closed."""
        self._connections.pop(connection, None)
        if not self._connections and self._check is not None:
            self._check.cancel()
            self._check = None

    def _check_soon(self) -> None:
        if self._check is None:
            self._check = asyncio.get_running_loop().call_later(self._request_seconds / CHECKS, self._close_late)

    def _close_late(self) -> None:
        self._check = None
        now = time.monotonic()
        for each in list(self._connections):
            if each.owes_request and now - each.owes_since >= self._request_seconds:
                self._close(each)
        if self._connections:
            self._check_soon()

    def _close(self, connection: "GatedConnection") -> None:
        if connection.has_begun:
            self._count_closed()
        self.forget(connection)
        connection.abort()

    def _count_closed(self) -> None:
        """One that has sent nothing since its last answer is idle, and not worth a word."""
        self._closed += 1
        now = time.monotonic()
        if now - self._spoke_at >= LOG_SECONDS:
            logger.warning(
                "web: closed %d connections without a whole request in %g s, or beyond %d at a time",
                self._closed,
                self._request_seconds,
                self._most,
            )
            self._closed, self._spoke_at = 0, now


class GatedConnection(asyncio.Protocol):
    """One connection: aiohttp's protocol, and since when a request is owed.

    Attributes:
        owes_since: `time.monotonic()` of the opening, of the last answer, or of the last whole head.
        has_begun: something of the request that is owed has come.
    """

    def __init__(self, gate: Gate, inner: web.RequestHandler) -> None:
        self._gate = gate
        self._inner = inner
        self._transport: asyncio.Transport | None = None
        self._is_admitted = False
        self.owes_since = time.monotonic()
        self.has_begun = False

    @property
    def owes_request(self) -> bool:
        """No request, or one whose body is not complete, is being answered."""
        request = self._inner._current_request  # noqa: SLF001 - aiohttp tells nowhere else
        if request is None:
            return not self._inner._messages  # noqa: SLF001 - as above
        if request._payload.is_eof():  # noqa: SLF001 - as above
            # Being answered: whatever comes next is owed from then on.
            self.owes_since, self.has_begun = time.monotonic(), False
            return False
        return True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, or close it at once."""
        self._transport = transport  # type: ignore[assignment]  # a server's are of this kind
        self._is_admitted = self._gate.admit(self)
        if self._is_admitted:
            self._inner.connection_made(transport)
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or of several."""
        if self._is_admitted:
            self.has_begun = True
            self._inner.data_received(data)
            if self._inner._messages:  # noqa: SLF001 - a whole head has come
                self.owes_since = time.monotonic()

    def eof_received(self) -> None:
        """Nothing more comes."""
        if self._is_admitted:
            self._inner.eof_received()

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, by whomever."""
        self._gate.forget(self)
        if self._is_admitted:
            self._inner.connection_lost(exc)

    def abort(self) -> None:
        """Close it without another word."""
        if self._transport is not None:
            self._transport.abort()


class GatedRunner(web.AppRunner):
    """An application runner whose sites let connections in through a gate."""

    @property
    def server(self) -> Any:
        """What a site makes protocols with."""
        server = super().server
        return None if server is None else self.gate(server)

    def gate(self, server: web.Server) -> Gate:
        """A gate before *server*."""
        return Gate(server)
