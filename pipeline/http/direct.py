"""Connects sockets without `loop.sock_connect`.

uvloop's `sock_connect` passes even numeric addresses to `getaddrinfo`, which runs in a few threads of libuv. If two
names have servers that don't answer, they occupy these threads, and every new connection of the process waits.
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Any, Final, cast

from aiohappyeyeballs import AddrInfoType, start_connection
from aiohttp import ClientConnectorError, ClientRequest, ClientTimeout, TCPConnector
from aiohttp.client_proto import ResponseHandler


class DirectConnector(TCPConnector):
    """aiohttp's connector, which connects sockets to numeric addresses without a lookup."""

    async def _connect(self, addresses: Sequence[AddrInfoType]) -> socket.socket:
        """A socket connected to one of *addresses*, tried in the order of RFC 8305. Raises OSError if all fail."""
        return await start_connection(
            addresses,
            happy_eyeballs_delay=self._happy_eyeballs_delay,
            interleave=self._interleave,
            loop=cast("asyncio.AbstractEventLoop", _CONNECTS),
            socket_factory=self._socket_factory,
        )

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


class _Connects:
    """Stands in for an event loop, with the only method that aiohappyeyeballs calls."""

    async def sock_connect(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        """Connect the non-blocking *sock* to the numeric *address*. Raises OSError if that fails."""
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


_CONNECTS: Final = _Connects()
