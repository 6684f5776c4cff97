"""Connects sockets without `loop.sock_connect`.

uvloop's `sock_connect` passes even numeric addresses to `getaddrinfo`, which runs in a few threads of libuv. If two
names have servers that don't answer, they occupy these threads, and every new connection of the process waits.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, cast

from aiohappyeyeballs import AddrInfoType, start_connection
from aiohttp import ClientConnectorError, ClientRequest, ClientTimeout, TCPConnector
from aiohttp.client_proto import ResponseHandler


class DirectConnector(TCPConnector):
    """aiohttp's connector, which connects sockets to numeric addresses without a lookup."""

    async def _connect(self, addresses: Sequence[AddrInfoType]) -> socket.socket:
        """A socket connected to one of *addresses*, tried in the order of RFC 8305.

        Raises:
            UnreachableError: all addresses failed, for different reasons.
            OSError: all addresses failed for the same reason.
        """
        connects = _Connects(self._socket_factory)
        try:
            return await start_connection(
                addresses,
                happy_eyeballs_delay=self._happy_eyeballs_delay,
                interleave=self._interleave,
                loop=cast("asyncio.AbstractEventLoop", connects),
                socket_factory=connects.new_socket,
            )
        except OSError as error:
            if error.errno is None and connects.failures:
                raise UnreachableError(connects.failures) from error
            raise

    async def _wrap_create_connection(
        self,
        *args: Any,
        addr_infos: list[AddrInfoType],
        req: ClientRequest,
        timeout: ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
        client_error: type[Exception] = ClientConnectorError,
        **kwargs: Any,
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        try:
            sock = await self._connect(addr_infos)
        except OSError as error:
            raise client_error(req.connection_key, error) from error
        # The event loop now owns the socket, and closes it if TLS fails.
        return await self._wrap_existing_connection(
            *args, req=req, timeout=timeout, client_error=client_error, sock=sock, **kwargs
        )


class UnreachableError(OSError):
    """No address of a host can be connected to. aiohappyeyeballs' own error for this has no errno and no types.

    Attributes:
        reasons: the error of each address.
    """

    def __init__(self, reasons: Sequence[OSError]) -> None:
        super().__init__("; ".join(map(str, reasons)))
        self.reasons = tuple(reasons)


class _Connects:
    """Stands in for an event loop, with the only method that aiohappyeyeballs calls. Collects the failures."""

    def __init__(self, socket_factory: Callable[[AddrInfoType], socket.socket] | None) -> None:
        self._socket_factory = socket_factory
        self.failures: list[OSError] = []

    def new_socket(self, address: AddrInfoType) -> socket.socket:
        """A socket for *address*. Raises OSError if it may not be connected to."""
        try:
            return socket.socket(*address[:3]) if self._socket_factory is None else self._socket_factory(address)
        except OSError as error:
            self.failures.append(error)
            raise

    async def sock_connect(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        """Connect the non-blocking *sock* to the numeric *address*. Raises OSError if that fails."""
        try:
            await _connect(sock, address)
        except OSError as error:
            self.failures.append(error)
            raise


async def _connect(sock: socket.socket, address: tuple[Any, ...]) -> None:
    try:
        sock.connect(address)
    except BlockingIOError:
        await _writable(sock)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number)) from None


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    writable = loop.create_future()
    loop.add_writer(sock.fileno(), _set, writable)
    try:
        await writable
    finally:
        loop.remove_writer(sock.fileno())


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
