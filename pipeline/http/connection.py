"""Connections: aiohttp's protocol and C parser, with strict rules for idle connections and limits on answers.

Private names of aiohttp's ResponseHandler (`_payload`, `_buffer`, `_exception`) show how much of an answer has arrived.
Without these names, the size of an answer would have no limit, and closing a connection would not wake a task that
reads from it. `_parser` is the parser of the current answer; a reused connection has none until it needs one. A worker
checks PATCHES before it starts.
"""

import asyncio
import select
from collections.abc import Callable, Iterator
from typing import Final

from aiohttp import ServerDisconnectedError, StreamReader
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from pipeline.core.patches import Patch, looks_up
from pipeline.http.plain_success import MAX_PLAIN_BYTES, plain_success
from pipeline.http.response import MAX_BODY_BYTES

MAX_HEADER_LINE_BYTES: Final = 8190
MAX_HEADERS: Final = 128
MAX_FRAMING_BYTES: Final = 32_768
"""The limit for everything except the body: interim answers, the head, chunk sizes, chunk extensions, trailers."""

_PIECE_BYTES: Final = 4096
"""The parser gets a long answer in pieces of this size, because it makes objects and copies of its whole input."""

_MOST_UNREAD_ANSWERS: Final = 32
"""The largest number of unread answers on a connection; a single exchange never has as many. Beyond it, the connection
is closed."""

_FAREWELL_SECONDS: Final = 0.1
"""How long sending TLS's close_notify may take. The receiver's close_notify is not needed."""

_SAYS_SOMETHING: Final = select.POLLIN | getattr(select, "POLLRDHUP", 0)


class IdleConnections:
    """The connections that wait for their next request. If there are more than *limit*, the oldest is closed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # Both are ordered, oldest first.
        self._parked: dict[Wire, None] = {}
        self._by_key: dict[ConnectionKey, dict[Wire, None]] = {}

    def __len__(self) -> int:
        return len(self._parked)

    def __iter__(self) -> "Iterator[Wire]":
        return iter(self._parked)

    def add(self, wire: "Wire", seconds: float) -> None:
        """Add a connection after its use. It may be idle for *seconds*."""
        wire.park(seconds)
        self._parked[wire] = None
        self._by_key.setdefault(wire.key, {})[wire] = None
        if len(self._parked) > self._limit:
            oldest = next(iter(self._parked))
            self.discard(oldest)
            oldest.close()

    def take(self, key: ConnectionKey) -> "Wire | None":
        """Remove and return the connection of *key* that was used last; None if there is none."""
        alike = self._by_key.get(key)
        if alike is None:
            return None
        wire = next(reversed(alike))
        self.discard(wire)
        return wire

    def discard(self, wire: "Wire") -> None:
        """Remove a connection that is used again or closed."""
        if wire.is_idle:
            wire.is_idle = False
            del self._parked[wire]
            alike = self._by_key[wire.key]
            del alike[wire]
            if not alike:
                del self._by_key[wire.key]


class Wire(ResponseHandler):
    """A connection to a receiver or a proxy.

    Attributes:
        key: a value that is equal for connections with the same destination, route and options.
        is_idle: whether the connection is waiting for its next request.
        is_reused: whether the connection has been idle before.
        is_written: whether the request was handed to the socket.
        refusal: the exception of the check that kept the request from being written.
        expired: whether the connection was aborted because the answer took too long.
    """

    key: ConnectionKey

    def __init__(self, loop: asyncio.AbstractEventLoop, idle: IdleConnections) -> None:
        super().__init__(loop)
        self._idle = idle
        self.is_idle = False
        self.is_reused = False
        self.is_written = False
        self.refusal: Exception | None = None
        self.expired = False
        self._request: bytes | None = None
        self._check: Callable[[], None] | None = None
        self._status_suffices = False
        self._deadline = 0.0
        self._deadline_timer: asyncio.TimerHandle | None = None
        self._farewell: asyncio.TimerHandle | None = None
        self._is_closed_here = False
        self._received_bytes = 0
        self._first_piece: bytes | None = None

    def begin(
        self, request: bytes, seconds: float, *, check: Callable[[], None] | None = None, status_suffices: bool = False
    ) -> None:
        """Prepare to send *request* with `write`, and to read its answer with `read`.

        Args:
            request: the whole request.
            seconds: how long the answer may take.
            check: called by `write`; if it raises, nothing is sent, and `read` raises the exception.
            status_suffices: whether the status is all that is needed of a success.
        """
        self._set_deadline(seconds)
        self._received_bytes = 0
        self._payload = None
        self._status_suffices = status_suffices
        if self.is_reused:
            self._parser = None  # each answer gets its own: the old one may have parsed bytes after its answer
        else:
            self._parse_from_here()  # also what has arrived already
        self._request, self._check = request, check
        self.is_written = False

    def write(self) -> None:
        """Write the request of `begin`, if its check allows it, and the connection has not been closed since."""
        request, self._request = self._request, None
        transport = self.transport
        if request is None or transport is None:
            return  # `read` raises an exception
        try:
            if self._check is not None:
                self._check()
            self.is_written = True
            transport.write(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns the caller of this request alone
            if not self.is_written:
                self.refusal = error
            self.set_exception(error)

    def park(self, seconds: float) -> None:
        """Become idle. The connection closes after *seconds* without a request."""
        self.is_idle = self.is_reused = True
        self._set_deadline(seconds)

    def _set_deadline(self, seconds: float) -> None:
        """Expire or close the connection after *seconds*.

        All deadlines share a timer, because a separate timer costs a 30th of a delivery.
        """
        self._deadline = deadline = self._loop.time() + seconds
        timer = self._deadline_timer
        if timer is None or timer.when() > deadline:
            if timer is not None:
                timer.cancel()
            self._deadline_timer = self._loop.call_at(deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._deadline_timer = None
        if self._loop.time() < self._deadline:
            self._deadline_timer = self._loop.call_at(self._deadline, self._check_deadline)
        elif self.is_idle:
            self._idle.discard(self)
            self.close()
        else:
            self._expire()

    def is_fit(self) -> bool:
        """Whether the connection may be reused: it was not idle for too long, and has received neither bytes nor EOF.

        This polls the socket, because an EOF may have arrived that the event loop reports only in its next turn.
        """
        transport = self.transport
        if transport is None or self._loop.time() >= self._deadline:
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
        """Whether the peer has closed the connection, and has sent nothing since the last request was written."""
        return self.transport is None and not (self._received_bytes or self.expired or self._is_closed_here)

    def data_received(self, data: bytes) -> None:
        """Parse an answer.

        If no request has been written since the last answer, close the connection: otherwise, the bytes would count as
        the next request's answer.
        """
        if self.is_idle or self._request is not None:
            self._idle.discard(self)
            self.close()
        elif self._received_bytes + len(data) <= _PIECE_BYTES:
            self._parse(data)
        else:
            self._parse_in_pieces(data)

    def _parse(self, piece: bytes) -> None:
        is_first = not self._received_bytes
        self._received_bytes += len(piece)
        if self._parser is None and self.is_reused:
            if not is_first:
                # These bytes follow a plain success, and answer nothing.
                self.force_close()
                return
            if self._status_suffices and len(piece) <= MAX_PLAIN_BYTES:
                success = plain_success(piece)
                if success is not None:
                    self.feed_data((success, EMPTY_PAYLOAD))
                    return
            self._parse_from_here()
        self._first_piece = piece if is_first else None
        super().data_received(piece)
        self._first_piece = None

    def _parse_in_pieces(self, data: bytes) -> None:
        for start in range(0, len(data) or 1, _PIECE_BYTES):
            if self._has_enough():
                self._pause_transport_reading()
                return
            self._parse(data[start : start + _PIECE_BYTES])

    def _has_enough(self) -> bool:
        """Whether the rest of an answer is not needed.

        If the answer exceeds a limit, its reader is told that it has ended.
        """
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
            # The status has arrived, so the answer counts even without the rest.
            self.force_close()
            payload.feed_eof()
            return True
        return payload.total_bytes > MAX_BODY_BYTES

    def pause_reading(self) -> None:
        """Do nothing: `_has_enough` limits the size. aiohttp's own limit costs more than parsing small chunks."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Do nothing, because nothing has been paused."""

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        """End the answer with an error. Unlike aiohttp's method, this also wakes a reader of the body."""
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
        # aiohttp discards a complete answer if something invalid follows in the same packet: a body where none is
        # allowed, or a longer body than announced. In separate packets, the answer would have counted.
        head, end, rest = data.partition(b"\r\n\r\n")
        if not rest:
            return False
        self._parse_from_here()
        super().data_received(head + end)
        super().data_received(rest)
        return True

    def connection_lost(self, exc: BaseException | None) -> None:
        """Clean up after the connection has ended, for any reason."""
        self._idle.discard(self)
        for timer in (self._deadline_timer, self._farewell):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def close(self) -> None:
        """Close the connection. Unlike aiohttp's method, this also wakes a task that is still reading an answer."""
        payload, self._is_closed_here = self._payload, True
        if self.transport is not None:
            # Without this, the connection would wait 30 s for the receiver's close_notify, and count towards no limit.
            self._farewell = self._loop.call_later(_FAREWELL_SECONDS, self.transport.abort)
        super().close()
        _wake(payload, ServerDisconnectedError())

    def abort(self) -> None:
        """Close the connection without sending buffered data."""
        payload, self._is_closed_here = self._payload, True
        super().abort()
        _wake(payload, ServerDisconnectedError())

    def _expire(self) -> None:
        """End an answer that takes too long: drop unwritten data, and raise TimeoutError in the reader at once."""
        self.expired = True
        self._request = None  # if it is not written yet, it never will be
        if self.transport is not None:
            self.transport.abort()
        self.set_exception(TimeoutError())


def _wake(payload: StreamReader | None, error: BaseException) -> None:
    if payload is not None and not payload.is_eof() and payload.exception() is None:
        payload.set_exception(error)


class _Unread(asyncio.Transport):
    """Takes the place of a socket in `_bounds_answers`."""

    is_paused = False

    def write(self, data: object) -> None:
        """Drop *data*."""

    def pause_reading(self) -> None:
        self.is_paused = True


def _bounds_answers() -> bool:
    """Whether a connection without a socket stops reading an answer beyond its limit."""
    loop = asyncio.new_event_loop()
    try:
        wire, transport = Wire(loop, IdleConnections(1)), _Unread()
        wire.connection_made(transport)
        wire.begin(b"", 1.0)
        wire.write()
        wire.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (4 * MAX_BODY_BYTES))
        wire.data_received(bytes(2 * MAX_BODY_BYTES))
        return transport.is_paused and wire.exception() is None
    finally:
        loop.close()


PATCHES: Final = (
    Patch("aiohttp", "ResponseHandler._payload", "the size of an answer has no limit", _bounds_answers),
    Patch(
        "aiohttp",
        "ResponseHandler._parser",
        "an answer in several pieces is not read to its end",
        looks_up("aiohttp.client_proto:ResponseHandler.connection_lost", "_parser"),
    ),
)
