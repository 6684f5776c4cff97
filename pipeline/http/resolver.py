"""Resolves host names with c-ares: the hosts file and DNS, without a thread for each lookup.

The event loop's `getaddrinfo` runs in one of a few threads. If the servers of a few names never answer, these names
occupy all threads, and no other connection can be made. c-ares uses sockets and its own time limit. It reads the hosts
file, `/etc/resolv.conf` and the order in `/etc/nsswitch.conf`, but no other sources of names (mDNS, LDAP). `localhost`
and names below it are always loopback addresses, even if DNS has others (RFC 6761 section 6.3).

The resolver does not decide where callbacks may connect to: the guard checks each socket's address (ssrf_guard.py).
"""

import asyncio
import re
import socket
from collections.abc import Sequence
from typing import Final

from aiohttp import AsyncResolver
from aiohttp.abc import AbstractResolver, ResolveResult

QUERY_SECONDS: Final = 1.5
"""How long a name server has to answer the first try. Later tries have more time."""
TRIES: Final = 3
LOOKUP_SECONDS: Final = 5.0
"""The longest a lookup takes, with all tries, name servers and search domains."""

_FULL_LOCALHOST: Final = re.compile(r"(.*\.)?localhost\.", re.IGNORECASE)
"""`localhost` with the trailing dot of a fully qualified name, for which c-ares would ask the name servers."""


class NoAnswerError(OSError):
    """The name servers did not answer in time."""

    def __init__(self) -> None:
        super().__init__(None, f"no answer from the name servers within {LOOKUP_SECONDS:g} s")


class Resolver(AbstractResolver):
    """Looks up names. Create it on the running event loop.

    Concurrent callers share one lookup of a name, which continues if they are cancelled.

    Args:
        name_servers: addresses of the name servers to use instead of the system's, with `:port` if the port is not 53.
    """

    def __init__(self, name_servers: Sequence[str] = ()) -> None:
        self._names = AsyncResolver(nameservers=list(name_servers) or None, timeout=QUERY_SECONDS, tries=TRIES)
        self._lookups: dict[tuple[str, socket.AddressFamily], asyncio.Task[list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of *host*.

        Raises:
            NoAnswerError: no name server answered in time.
            OSError: the name does not exist, or the name servers failed; its `strerror` says which.
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
            lookup.exception()  # retrieved, in case all callers were cancelled

    async def close(self) -> None:
        """Cancel the lookups under way and close."""
        lookups = list(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, return_exceptions=True)
        await self._names.close()
