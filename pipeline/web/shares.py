"""Keeps one tenant from using up what all share: places, and turns at work that takes its share of the processor."""

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


class Shares:
    """Places, of which one tenant gets a part; operators may take all of them.

    Args:
        what: takes the places, as in "32 changes are under way".
        most: places.
        of_a_tenant: that one tenant may take at a time.
    """

    def __init__(self, what: str, most: int, of_a_tenant: int) -> None:
        self._what = what
        self._most = most
        self._of_a_tenant = of_a_tenant
        self._taken: Counter[object] = Counter()

    @contextmanager
    def place(self, principal: Principal) -> Iterator[None]:
        """A place for the time of the context.

        Raises:
            BusyError: all are taken, or all that the principal's tenant may take.
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
    """Turns at work that is done for one request at a time.

    However many requests of one principal wait, those of another one wait for one of them at most: each principal has
    one in the queue for the turn.

    Args:
        what: waits, as in "searches are waiting".
        of_a_tenant: how many requests of one tenant may wait.
    """

    def __init__(self, what: str, of_a_tenant: int = OF_A_TENANT) -> None:
        self._places = Shares(what, MOST_WAITING, of_a_tenant)
        self._what = what
        self._turn = asyncio.Lock()
        self._own: WeakValueDictionary[object, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, principal: Principal, seconds: float | None = None) -> AsyncIterator[None]:
        """Wait for a turn, for at most *seconds*, and have it for the time of the context.

        Raises:
            BusyError: too many requests wait for theirs, or it has not come in time.
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
