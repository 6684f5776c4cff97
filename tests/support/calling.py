"""The worker's HTTP client as most tests have it: it may reach loopback, and nothing else."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

from aiohttp.abc import AbstractResolver

from pipeline.http.proxy import SystemProxies
from pipeline.http.resolver import Resolver
from pipeline.http.ssrf_guard import Guard
from pipeline.http.transport import Transport


@asynccontextmanager
async def loopback_transport(
    max_in_flight: int,
    idle_timeout_seconds: float = 60.0,
    *,
    system: SystemProxies | None = None,
    resolver: Callable[[], AbstractResolver] = Resolver,
) -> AsyncIterator[Transport]:
    """A transport that is started, and closed in the end.

    Args:
        max_in_flight: as the transport has it, like the next one.
        idle_timeout_seconds: for connections.
        system: the system's proxies; none if not given.
        resolver: makes what looks names up.
    """
    transport = Transport(
        guard=Guard([ip_network("127.0.0.0/8")]),
        max_in_flight=max_in_flight,
        idle_timeout_seconds=idle_timeout_seconds,
        system_proxies=system or SystemProxies(),
        resolver=resolver,
    )
    await transport.start()
    try:
        yield transport
    finally:
        await transport.close()
