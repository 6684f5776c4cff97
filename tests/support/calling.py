"""The worker's HTTP client for most tests. It may connect to loopback only."""

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
    """A started transport, which is closed at the end.

    Args:
        max_in_flight: the limit of concurrent requests.
        idle_timeout_seconds: how long idle connections are kept.
        system: the proxies of the system; none by default.
        resolver: makes the resolver for host names.
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
