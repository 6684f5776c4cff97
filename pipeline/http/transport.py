"""The HTTP client of a worker: sends bytes to a destination, returns a complete answer or `Failed`.

It uses aiohttp's connector and parser, but not its request classes, which cost more than all the rest of a delivery.
request.py makes the bytes of a request; this module does not inspect them.
"""

import asyncio
import fcntl
import logging
import termios
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from aiohttp import ClientConnectionError, ClientError
from aiohttp.abc import AbstractResolver
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EofStream
from yarl import URL

from pipeline.core.bounded import Bounded
from pipeline.core.errors import ConfigurationError
from pipeline.core.outcome import Failed
from pipeline.core.subscription import HttpLimits, Proxy, TlsOptions
from pipeline.http.burst import Burst
from pipeline.http.connection import IdleConnections, Wire
from pipeline.http.connector import Connector
from pipeline.http.destination import Destination, destination_of, origin_of, parse_url, written_target
from pipeline.http.failures import not_answered, not_connected, not_let_through
from pipeline.http.proxy import ProxyRoute, SystemProxies, proxy_route
from pipeline.http.resolver import Resolver
from pipeline.http.response import MAX_BODY_BYTES, Answer
from pipeline.http.ssrf_guard import Guard, guarded_socket
from pipeline.http.tls import TlsContexts

if TYPE_CHECKING:
    from aiohttp.http import RawResponseMessage
    from aiohttp.streams import StreamReader

logger = logging.getLogger(__name__)

MAX_INTERIM_ANSWERS: Final = 16
"""The most 1xx answers before the final one. One more counts as the final answer."""

_UNREAD_BYTES: Final = 1024
"""A body of at most this size may be left unread, because aiohttp takes it from the socket anyway."""

_FIRST_STATUS: Final = 100
_SWITCHING_PROTOCOLS: Final = 101
_FIRST_FINAL_STATUS: Final = 200
_NO_CONTENT: Final = 204
_PROXY_AUTHENTICATION_REQUIRED: Final = 407


MAX_SHARED: Final = 1_000
"""The most destinations that are kept, to be shared by several subscriptions."""

_Shared = tuple[str | None, TlsOptions, Proxy | None, bool, HttpLimits]
"""Everything on which a destination depends, except for the target."""


@dataclass(frozen=True, slots=True)
class _ClosedIdle:
    """A reused connection ended before the request was written, or before the first byte of the answer.

    Most likely the receiver had just closed it.
    """

    failed: Failed


def _any(_: Wire) -> bool:
    return True


def _none(_: Wire) -> bool:
    return False


class Transport:
    """Connections to receivers: limited in number, reused while they are in a known state, guarded.

    Args:
        guard: checks every address before a socket connects to it. Addresses of proxies are not checked, because the
            operator chooses proxies. If there is a proxy, the guard checks the host as written. The proxy resolves
            names, so the proxy has to refuse internal addresses.
        max_in_flight: the most connections in use; the same number may be idle. Slots limit deliveries
            (core/concurrency.py), so this mainly limits other requests, such as those for tokens.
        idle_timeout_seconds: the time after which unused connections are closed.
        system_proxies: the proxies for `use_system_proxy`.
        resolver: called on the event loop; makes the resolver, which is closed with the transport.
    """

    def __init__(
        self,
        *,
        guard: Guard,
        max_in_flight: int,
        idle_timeout_seconds: float,
        system_proxies: SystemProxies,
        resolver: Callable[[], AbstractResolver] = Resolver,
    ) -> None:
        self._guard = guard
        self._limit = max_in_flight
        self._idle_timeout_seconds = idle_timeout_seconds
        self._system_proxies = system_proxies
        self._make_resolver = resolver
        self._idle = IdleConnections(max_in_flight)
        self._in_use: set[Wire] = set()
        self._contexts = TlsContexts()
        self._shared: Bounded[_Shared, Destination] = Bounded(MAX_SHARED)

    async def start(self) -> None:
        """Prepare for exchanges on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._burst = Burst(self._loop)
        self._free = asyncio.Semaphore(self._limit)
        self._resolver = self._make_resolver()
        self._straight = self._connector(guarded=True)
        self._proxied = self._connector(guarded=False)

    async def close(self) -> None:
        """Close every connection. Exchanges under way end as `Failed`."""
        await self._straight.close()
        await self._proxied.close()
        wires = [*self._in_use, *self._idle]
        for wire in wires:
            wire.abort()
        await asyncio.gather(*(wire.closed for wire in wires if wire.closed is not None), return_exceptions=True)
        await self._resolver.close()

    def _connector(self, *, guarded: bool) -> Connector:
        return Connector(
            idle=self._idle,
            loop=self._loop,
            socket_factory=guarded_socket(self._guard) if guarded else None,
            resolver=self._resolver,
        )

    async def destination(
        self, url: str, *, tls: TlsOptions, proxy: Proxy | None, use_system_proxy: bool, limits: HttpLimits
    ) -> Destination:
        """Where requests to *url* go; called once per subscription.

        Raises:
            ConfigurationError: the URL, the TLS options or the proxy are invalid, or the guard refuses the host of a
                URL behind a proxy.
        """
        # Many subscriptions may share a host: everything but the target is computed once.
        key = (origin_of(url), tls, proxy, use_system_proxy, limits)
        if (known := self._shared.get(key)) is not None:
            return known.with_target(written_target(url))
        parsed = parse_url(url)
        route = proxy_route(proxy, self._system_proxies if use_system_proxy else None, parsed)
        if route is not None:
            verdict = self._guard.verdict_on_host(parsed.raw_host or "")
            if verdict is not None:
                raise ConfigurationError(verdict)
        context = await self._contexts.get(tls) if _needs_tls(parsed, route) else None
        target = written_target(url)
        idle_seconds = min(limits.idle_timeout_seconds, self._idle_timeout_seconds)
        limits = replace(limits, idle_timeout_seconds=idle_seconds)
        made = destination_of(parsed, target=target, tls=context, proxy=route, limits=limits, loop=self._loop)
        if route is None and key[0] is not None:
            self._shared[key] = made
        return made

    async def exchange(
        self,
        destination: Destination,
        request: bytes,
        *,
        keep: int,
        keep_of_success: int | None,
        repeatable: bool,
        check: Callable[[], None] | None = None,
    ) -> Answer | Failed:
        """Send *request* and read the answer. Raises nothing except a cancellation and the exceptions of *check*.

        A receiver may close an idle connection at the moment of the next request (RFC 9112 section 9.6). A repeatable
        request is then sent once more on a new connection, which does not count as another attempt (RFC 9110 section
        9.2.2). For other requests, the connection is checked right before it is used.

        Args:
            destination: a destination that `destination` returned.
            request: the whole request, as bytes.
            keep: how much of the answer's body to keep, at most `MAX_BODY_BYTES`.
            keep_of_success: how much of the body of a 2xx to keep; None, the fastest: only the status of a 2xx is
                needed, and its headers may be missing.
            repeatable: whether the receiver may get the request twice.
            check: called before each write, when there is a connection; if it raises, nothing is sent.
        """
        may_reuse = _any if repeatable else Wire.is_fit
        answer = await self._once(destination, request, keep, keep_of_success, check, may_reuse=may_reuse)
        if isinstance(answer, _ClosedIdle) and repeatable:
            logger.debug("%s; sending once more on a new connection", answer.failed.error)
            first = answer.failed
            answer = await self._once(destination, request, keep, keep_of_success, check, may_reuse=_none)
            if isinstance(answer, Failed):
                # The first request may have arrived, even if the second one provably did not.
                answer = replace(answer, may_have_arrived=answer.may_have_arrived or first.may_have_arrived)
        return answer.failed if isinstance(answer, _ClosedIdle) else answer

    async def _once(
        self,
        destination: Destination,
        request: bytes,
        keep: int,
        keep_of_success: int | None,
        check: Callable[[], None] | None,
        *,
        may_reuse: Callable[[Wire], bool],
    ) -> "Answer | Failed | _ClosedIdle":
        try:
            wire = await self._connection(destination, may_reuse)
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing has been sent
            _log_unexpected(error)
            return not_connected(destination, error)
        is_clean = False
        try:
            if wire.transport is None:
                return not_connected(destination, ConnectionResetError())
            wire.begin(request, destination.read_timeout_seconds, check=check, status_suffices=keep_of_success is None)
            if wire.is_reused and may_reuse is _any:
                self._burst.add(wire)
            else:
                # A new connection, or one that `may_reuse` has just checked: the check would not hold for another turn.
                wire.write()
            answer, is_clean = await _answer_on(
                wire, wire.transport, destination, keep=keep, keep_of_success=keep_of_success or 0
            )
        finally:
            self._give_back(wire, destination.dial.idle_seconds if is_clean else None)
        return answer

    def _connection(self, destination: Destination, may_reuse: Callable[[Wire], bool]) -> Awaitable[Wire]:
        """An idle connection that *may_reuse* accepts, or else a new one; in use until it is given back."""
        if self._free.locked():
            return self._connected_in_time(destination, may_reuse)
        return self._connected(destination, may_reuse)

    async def _connected_in_time(self, destination: Destination, may_reuse: Callable[[Wire], bool]) -> Wire:
        async with asyncio.timeout(destination.connect_timeout_seconds):
            return await self._connected(destination, may_reuse)

    async def _connected(self, destination: Destination, may_reuse: Callable[[Wire], bool]) -> Wire:
        await self._free.acquire()
        try:
            wire = self._kept(destination, may_reuse)
            if wire is None:
                wire = await self._new(destination)
        except BaseException:
            self._free.release()
            raise
        self._in_use.add(wire)
        return wire

    def _kept(self, destination: Destination, may_reuse: Callable[[Wire], bool]) -> Wire | None:
        while (wire := self._idle.take(destination.dial.connection_key)) is not None:
            # The connection may be closing although `connection_lost` was not called yet.
            if wire.is_connected() and may_reuse(wire):
                return wire
            wire.abort()
        return None

    async def _new(self, destination: Destination) -> Wire:
        connector = self._proxied if destination.is_proxied else self._straight
        try:
            return await connector.open(destination.dial, destination.connect_timeout_seconds)
        except asyncio.CancelledError:
            # Closing the connector cancels its lookups, and with them the tasks that wait for one.
            if not connector.closed or _is_to_end():
                raise
            raise ClientConnectionError from None

    def _give_back(self, wire: Wire, idle_seconds: float | None) -> None:
        """End the use of *wire*. It may be idle for *idle_seconds*; None if it can't be used again."""
        self._in_use.discard(wire)
        self._free.release()
        if idle_seconds is None:
            wire.abort()
        elif wire.should_close:
            wire.close()
        else:
            self._idle.add(wire, idle_seconds)


async def _answer_on(
    wire: Wire, transport: asyncio.Transport, destination: Destination, *, keep: int, keep_of_success: int
) -> "tuple[Answer | Failed | _ClosedIdle, bool]":
    """Read the answer to the request of *wire*. Returns also whether another request may follow on the connection."""
    message = None
    try:
        message, payload = await wire.read()
        if message.code < _FIRST_FINAL_STATUS:
            message, payload = await _final_answer(wire, message, payload)
        if message.code == _NO_CONTENT and _announces_body(message):
            wire.force_close()
        is_success = 200 <= message.code < 300  # noqa: PLR2004 - the successes of RFC 9110
        body, is_drained = await _read_body(payload, keep_of_success if is_success else keep)
        if wire.expired:
            # In aiohttp, a body without a length ends with the connection, even if this side has closed it.
            return not_answered(destination, TimeoutError(), expired=True, answer_begun=True), False
        # The receiver may have answered before the whole request was written.
        is_clean = is_drained and not transport.get_write_buffer_size() and _has_arrived(wire, transport)
    except Exception as error:  # whatever it was, the request may have arrived
        if error is wire.refusal:
            raise
        _log_unexpected(error)
        return _no_answer(wire, destination, error, answer_begun=message is not None), False
    if message.code == _PROXY_AUTHENTICATION_REQUIRED and destination.is_forwarded:
        return not_let_through(), is_clean
    return Answer(message.code, message.headers, body), is_clean


async def _final_answer(
    wire: Wire, message: "RawResponseMessage", payload: "StreamReader"
) -> "tuple[RawResponseMessage, StreamReader]":
    """The final answer (RFC 9110 section 15.2), after the interim answer *message*."""
    interim = 1
    while message.code < _FIRST_FINAL_STATUS:
        if message.code < _FIRST_STATUS:
            raise HttpProcessingError(message=f"{message.code} is not a status")
        if message.code == _SWITCHING_PROTOCOLS or interim == MAX_INTERIM_ANSWERS:
            wire.force_close()
            break
        interim += 1
        message, payload = await wire.read()
    return message, payload


async def _read_body(payload: "StreamReader", keep: int) -> tuple[bytes, bool]:
    """The first *keep* bytes, and whether the end was reached within the limit."""
    if not keep and payload.is_eof() and payload.total_bytes <= _UNREAD_BYTES:
        return b"", True
    kept, seen = bytearray(), 0
    while seen <= MAX_BODY_BYTES:
        chunk = await payload.readany()
        if not chunk:
            return bytes(kept), True
        seen += len(chunk)
        kept += chunk[: keep - len(kept)]
    return bytes(kept), False


def _no_answer(wire: Wire, destination: Destination, error: Exception, *, answer_begun: bool) -> "Failed | _ClosedIdle":
    """Why there is no answer to the request of *wire*."""
    if not wire.is_written:
        return _ClosedIdle(not_connected(destination, error))
    failed = not_answered(destination, error, expired=wire.expired, answer_begun=answer_begun)
    was_idle = wire.is_reused and wire.was_cut_off_unanswered and failed.may_have_arrived
    return _ClosedIdle(failed) if was_idle else failed


def _has_arrived(wire: Wire, transport: asyncio.Transport) -> bool:
    """Whether the peer has acknowledged all bytes. Only needed for TLS, whose transport does not count them."""
    if wire.key.ssl is True:
        return True
    nothing = bytes(4)
    return not transport.is_closing() and (
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, nothing) == nothing
    )


def _announces_body(message: "RawResponseMessage") -> bool:
    """Whether the head announces a body although this status has none (RFC 9112 section 6.3)."""
    headers = message.headers
    return "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"


def _is_to_end() -> bool:
    """Whether the running task itself was cancelled, and not only a task or future that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _log_unexpected(error: Exception) -> None:
    """Log an error with a traceback, unless it is a network error: then it is a bug, here or in aiohttp."""
    if not isinstance(error, OSError | ClientError | HttpProcessingError | EofStream | UnicodeError):
        logger.error("an exchange failed in an unexpected way", exc_info=error)


def _needs_tls(url: URL, route: ProxyRoute | None) -> bool:
    return url.scheme == "https" or (route is not None and route.url.scheme == "https")
