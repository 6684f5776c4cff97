"""Prevents one tenant from using up shared capacity: concurrent requests, and work that takes CPU time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Final
from weakref import WeakValueDictionary

from pipeline.core.errors import BusyError
from pipeline.web.principal import Principal

MOST_WAITING: Final = 32
OF_A_TENANT: Final = 4


class Places:
    """A limit on concurrent requests. One tenant may use only a part of the limit; operators may use the whole limit.

    Args:
        what: the end of a sentence about the requests, as in "32 *changes are under way*".
        most: the largest number of requests.
        of_a_tenant: the largest number of requests of one tenant.
    """

    def __init__(self, what: str, most: int, of_a_tenant: int) -> None:
        self._what = what
        self._most = most
        self._of_a_tenant = of_a_tenant
        self._taken: Counter[object] = Counter()

    @contextmanager
    def place(self, principal: Principal) -> Iterator[None]:
        """Count as a request for the duration of the context.

        Raises:
            BusyError: too many requests are under way, for all principals or for this tenant.
        """
        whose = _whose(principal)
        if self._taken.total() >= self._most:
            raise BusyError(f"{self._most} {self._what} in this worker; nothing was done")
        if principal.tenant and self._taken[whose] >= self._of_a_tenant:
            raise BusyError(f"{self._of_a_tenant} {self._what} for this tenant in this worker; nothing was done")
        self._taken[whose] += 1
        try:
            yield
        finally:
            self._taken[whose] -= 1
            if not self._taken[whose]:
                del self._taken[whose]


class Turns:
    """A queue for work that serves one request at a time.

    Each principal has at most one request in the queue. So a principal who sends many requests does not hold up the
    others.

    Args:
        what: the end of a sentence about the wait, as in "searches are waiting".
        of_a_tenant: how many requests of one tenant may wait.
    """

    def __init__(self, what: str, of_a_tenant: int = OF_A_TENANT) -> None:
        self._places = Places(what, MOST_WAITING, of_a_tenant)
        self._what = what
        self._turn = asyncio.Lock()
        self._own: WeakValueDictionary[object, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, principal: Principal, seconds: float | None = None) -> AsyncIterator[None]:
        """Wait at most *seconds* for the turn, and keep it for the duration of the context.

        Raises:
            BusyError: too many requests are waiting, or the turn did not come in time.
        """
        with self._places.place(principal):
            own = self._own.setdefault(_whose(principal), asyncio.Lock())
            async with AsyncExitStack() as held:
                try:
                    async with asyncio.timeout(seconds):
                        await held.enter_async_context(own)
                        await held.enter_async_context(self._turn)
                except TimeoutError:
                    raise BusyError(f"{self._what} for more than {seconds:g} s; nothing was done") from None
                yield


def _whose(principal: Principal) -> object:
    return frozenset(principal.tenant.items()) or principal.name
