"""The store of a worker, for the API: opened when the first change arrives; few changes at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pipeline.core.errors import BrokerError
from pipeline.subscriptions.store import SubscriptionStore

MOST_AT_A_TIME: Final = 32
"""Changes under way or waiting for their turn. The store makes one after the other."""
SECONDS: Final = 20.0
"""How long a change may take; a broker has 10 s for an answer."""

Result = TypeVar("Result")


class Writing:
    """Makes changes.

    Args:
        store: not open yet; its registry is the worker's.
    """

    def __init__(self, store: SubscriptionStore) -> None:
        self._store = store
        self._is_open = False
        self._opening = asyncio.Lock()
        self._under_way = 0

    async def change(self, work: Callable[[SubscriptionStore], Awaitable[Result]]) -> Result:
        """The result of *work* with the open store.

        Raises:
            BrokerError: too many changes are waiting, or no broker answers in time; else what *work* raises.
        """
        if self._under_way >= MOST_AT_A_TIME:
            raise BrokerError(f"{MOST_AT_A_TIME} changes are under way in this worker; nothing was changed")
        self._under_way += 1
        try:
            async with asyncio.timeout(SECONDS):
                await self._open()
                return await work(self._store)
        except TimeoutError:
            raise BrokerError(
                f"the broker did not confirm the change within {SECONDS:.0f} s; it may still be made: read the "
                "subscription before you try again"
            ) from None
        finally:
            self._under_way -= 1

    async def _open(self) -> None:
        async with self._opening:
            if not self._is_open:
                await self._store.open()
                self._is_open = True
