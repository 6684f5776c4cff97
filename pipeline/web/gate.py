"""How many connections the pages take, and for how long one may owe a request, or leave an answer unread.

aiohttp bounds none of it: whoever opens connections and sends half a request on each would take the file descriptors
that deliveries need; and whoever reads no answers would keep the connections, and with them everybody else out.
`GatedRunner` stands in for the runner of Faust's web driver; every connection goes through its gate.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Any, Final

from aiohttp import web

logger = logging.getLogger(__name__)

MOST_CONNECTIONS: Final = 128
"""Open at a time; a scraper, some probes and a person or two need ten."""

REQUEST_SECONDS: Final = 10.0
"""For a whole head from the opening or the last answer, for a whole body from its head, and for an answer that fills
the buffers to be read on."""

CHECKS: Final = 4
"""A connection is closed after at most REQUEST_SECONDS and one part of so many of them."""

LOG_SECONDS: Final = 10.0


class Gate:
    """Makes the protocols of a server, and closes the connections that owe something.

    Args:
        server: aiohttp's, which makes one protocol for each connection.
        most: connections at a time. When one more comes, the one that has owed something for longest makes room, else
            the oldest that has sent more requests than the one that is being answered; if there is none, the new one is
            closed.
        request_seconds: how long one may owe a request, or leave an answer unread.
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

    @property
    def connections(self) -> Collection["GatedConnection"]:
        """Those that are open, the oldest first."""
        return self._connections

    def __call__(self) -> "GatedConnection":
        """The protocol of a new connection."""
        return GatedConnection(self, self._server())

    def admit(self, connection: "GatedConnection") -> bool:
        """Whether there is room for a connection, if need be in place of another."""
        if len(self._connections) >= self._most:
            other = self._least_missed()
            if other is None:
                self._count_closed()
                return False
            self._close(other)
        self._connections[connection] = None
        self._check_soon()
        return True

    def forget(self, connection: "GatedConnection") -> None:
        """The connection is closed."""
        self._connections.pop(connection, None)
        if not self._connections and self._check is not None:
            self._check.cancel()
            self._check = None

    def _least_missed(self) -> "GatedConnection | None":
        owing = {each: since for each in self._connections if (since := each.owes_since()) is not None}
        if owing:
            return min(owing, key=owing.__getitem__)
        return next((each for each in self._connections if each.has_more_requests), None)

    def _check_soon(self) -> None:
        if self._check is None:
            self._check = asyncio.get_running_loop().call_later(self._request_seconds / CHECKS, self._close_late)

    def _close_late(self) -> None:
        self._check = None
        now = time.monotonic()
        for each in list(self._connections):
            since = each.owes_since()
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
        """One that has sent nothing since its last answer is idle, and not worth a word."""
        self._closed += 1
        now = time.monotonic()
        if now - self._spoke_at >= LOG_SECONDS:
            logger.warning(
                "web: closed %d connections without a complete request or with an unread answer for %g s, or beyond %d",
                self._closed,
                self._request_seconds,
                self._most,
            )
            self._closed, self._spoke_at = 0, now


class GatedConnection(asyncio.Protocol):
    """One connection: aiohttp's protocol, and since when its peer owes something.

    Attributes:
        has_begun: something of the request that is owed has come.
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
        """As much of an answer waits to be read as the buffers take."""
        return self._unread_since is not None

    @property
    def has_more_requests(self) -> bool:
        """Several requests have come, of which one is being answered or the next (RFC 9112 section 9.3.2)."""
        in_hand = self._inner._current_request is not None  # noqa: SLF001 - aiohttp tells nowhere else
        return in_hand + len(self._inner._messages) > 1  # noqa: SLF001 - as above

    def owes_since(self) -> float | None:
        """Since when, by `time.monotonic()`, its peer owes a request, the rest of one, or to read the answer.

        A request is owed from the opening or the last answer, its body from its head. None: nothing is owed.
        """
        if self._unread_since is not None:
            return self._unread_since
        request = self._inner._current_request  # noqa: SLF001 - aiohttp tells nowhere else
        if request is None:
            return None if self._inner._messages else self._waits_since  # noqa: SLF001 - as above
        if request._payload.is_eof():  # noqa: SLF001 - as above
            # Being answered: whatever comes next is owed from then on.
            self._waits_since, self.has_begun = time.monotonic(), False
            return None
        return self._waits_since

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
                self._waits_since = time.monotonic()

    def eof_received(self) -> None:
        """Nothing more comes."""
        if self._is_admitted:
            self._inner.eof_received()

    def pause_writing(self) -> None:
        """The peer does not read."""
        self.has_begun, self._unread_since = True, time.monotonic()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It does again, and has read most of what there was."""
        self._unread_since = None
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
    """An application runner whose sites let connections in through a gate, one for all of them."""

    _gate: Gate | None = None

    @property
    def server(self) -> Any:
        """What a site makes protocols with."""
        server = super().server
        if server is None:
            self._gate = None
        elif self._gate is None:
            self._gate = self.gate(server)
        return self._gate

    async def cleanup(self) -> None:
        """Close all, the gate too: when it is set up again it has another server."""
        await super().cleanup()
        self._gate = None

    def gate(self, server: web.Server) -> Gate:
        """A gate before *server*."""
        return Gate(server)
