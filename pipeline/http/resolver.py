"""Names to addresses, by c-ares: the hosts file and DNS, without a thread for each lookup.

The event loop's own `getaddrinfo` waits in one of a few threads; some names whose servers never answer keep them all,
and nobody else is connected meanwhile. c-ares asks over sockets, with a time limit of its own. It reads the hosts file,
`/etc/resolv.conf` and the order in `/etc/nsswitch.conf`; other sources of names (mDNS, LDAP) are not asked. `localhost`
and the names below it are loopback, whatever DNS says (RFC 6761 section 6.3).

What is found says nothing about where callbacks may connect to: the guard judges the address of each socket
(ssrf_guard.py).
"""

import asyncio
import re
import socket
from collections.abc import Sequence
from typing import Final

from aiohttp import AsyncResolver
from aiohttp.abc import AbstractResolver, ResolveResult

QUERY_SECONDS: Final = 1.5
"""How long a name server has for its answer to the first try; the next tries have longer."""
TRIES: Final = 3
LOOKUP_SECONDS: Final = 5.0
"""How long a lookup takes at most, with all tries, name servers and search domains."""

_FULL_LOCALHOST: Final = re.compile(r"(.*\.)?localhost\.", re.IGNORECASE)
"""With the dot that ends a full name: c-ares would ask the name servers for it."""


class NoAnswerError(OSError):
    """The name servers have not answered in time."""

    def __init__(self) -> None:
        super().__init__(None, f"no answer from the name servers within {LOOKUP_SECONDS:g} s")


class Resolver(AbstractResolver):
    """Looks names up; make it on the running event loop.

    However many ask for a name at a time, it is looked up once. A lookup goes on when they have given up.

    Args:
        name_servers: addresses, each with `:port` if it isn't 53, that are asked instead of those of the system.
    """

    def __init__(self, name_servers: Sequence[str] = ()) -> None:
        self._names = AsyncResolver(nameservers=list(name_servers) or None, timeout=QUERY_SECONDS, tries=TRIES)
        self._lookups: dict[tuple[str, socket.AddressFamily], asyncio.Task[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of *host*.

        Raises:
            NoAnswerError: nobody has answered in time.
            OSError: there is no such name, or the name servers failed; its `strerror` says which.
        """
        key = host, family
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = asyncio.create_task(self._look_up(host, family), name=f"lookup of {host}")
            self._lookups[key] = lookup
            lookup.add_done_callback(lambda done: self._end(key, done))
        found = await asyncio.shield(lookup)
        return [ResolveResult(**{**each, "port": port}) for each in found]

    async def _look_up(self, host: str, family: socket.AddressFamily) -> list[ResolveResult]:
        name = host.removesuffix(".") if _FULL_LOCALHOST.fullmatch(host) else host
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                return await self._names.resolve(name, 0, family)
        except TimeoutError:
            raise NoAnswerError from None

    def _end(self, key: tuple[str, socket.AddressFamily], lookup: "asyncio.Task[list[ResolveResult]]") -> None:
        self._lookups.pop(key, None)
        if not lookup.cancelled():
            lookup.exception()  # read by nobody where all have given up

    async def close(self) -> None:
        """End the lookups under way."""
        lookups = list(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)
        await self._names.close()
