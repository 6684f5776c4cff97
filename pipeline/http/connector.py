"""Makes connections: aiohttp's connector without its pool, and with SOCKS proxies.

aiohttp has no public way to use another protocol class, so this module and direct.py use private names of TCPConnector:

    _factory            makes the protocol; without it, bytes on an idle connection answer the next request
    _create_connection  makes a connection without aiohttp's pool
    _resolve_host, _get_ssl_context, _wrap_existing_connection, ... are used for SOCKS connections too

The names whose absence would cause no error are in PATCHES, which a worker checks before it starts.
"""

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import (
    ClientConnectionError,
    ClientConnectorDNSError,
    ClientProxyConnectionError,
    ClientRequest,
    ClientTimeout,
)
from aiohttp.client_proto import ResponseHandler

from pipeline.core.patches import Patch, looks_up
from pipeline.http.connection import IdleConnections, Wire
from pipeline.http.destination import Dial
from pipeline.http.direct import DirectConnector
from pipeline.http.socks import connect_on

if TYPE_CHECKING:
    from aiohttp.tracing import Trace


class Connector(DirectConnector):
    """A connector whose connections are `Wire`s, with the keywords of aiohttp's connector.

    aiohttp's pool is not used: it does not limit idle connections, and releasing and acquiring a connection costs a
    tenth of a delivery.
    """

    def __init__(self, *, idle: IdleConnections, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(loop=loop, **options)
        # A test checks that aiohttp uses this factory: it expects that an idle connection is closed when it receives
        # bytes.
        self._factory = partial(Wire, loop=loop, idle=idle)  # type: ignore[assignment]  # a Wire is a ResponseHandler

    async def open(self, dial: Dial, seconds: float) -> Wire:
        """A new connection within *seconds*. Raises aiohttp's errors if it can't connect."""
        if self.closed:
            raise ClientConnectionError
        async with asyncio.timeout(seconds):
            wire = cast("Wire", await self._create_connection(dial, [], ClientTimeout(connect=seconds)))
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
        # aiohttp does not support SOCKS, but it can use a connected socket, including TLS and error handling.
        if not isinstance(req, Dial) or req.socks is None:
            return await super()._create_connection(req, traces, timeout)
        sock = await self._socket_to(req, req.socks.host, req.socks.port)
        await connect_on(req.socks, sock, req.host, req.port or 0)
        context = self._get_ssl_context(req)
        # The event loop now owns the socket, and closes it if TLS fails.
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
        """A socket to the proxy at *host*, with the same resolver, errors and address selection as any other."""
        try:
            found = await self._resolve_host(host, port)
        except OSError as error:
            raise ClientConnectorDNSError(req.connection_key, error) from error
        try:
            return await self._connect(self._convert_hosts_to_addr_infos(found))
        except OSError as error:
            raise ClientProxyConnectionError(req.connection_key, error) from error


_CONNECTOR: Final = "aiohttp.connector:TCPConnector."
_STRICT: Final = "bytes on an idle connection are taken for the answer to the next request"

PATCHES: Final = (
    Patch("aiohttp", "TCPConnector._factory", _STRICT, looks_up(f"{_CONNECTOR}_create_direct_connection", "_factory")),
    Patch("aiohttp", "TCPConnector._factory", _STRICT, looks_up(f"{_CONNECTOR}_start_tls_connection", "_factory")),
    Patch(
        "aiohttp",
        "TCPConnector._wrap_create_connection",
        "a name whose servers don't answer holds up every new connection",
        looks_up(f"{_CONNECTOR}_create_direct_connection", "_wrap_create_connection"),
    ),
    Patch(
        "python-socks",
        "Proxy.connect",
        "a SOCKS proxy is looked up again, bypassing the address guard",
        looks_up("python_socks.async_.asyncio:Proxy._connect", "_forward", "connect"),
    ),
)
