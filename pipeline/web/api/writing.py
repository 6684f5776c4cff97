"""The store of a worker, for the API: opened for the first change, with a limit on concurrent changes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pipeline.core.errors import UnconfirmedError
from pipeline.subscriptions.store import SubscriptionStore
from pipeline.web.principal import Principal
from pipeline.web.tenant_limits import Places

MOST_AT_A_TIME: Final = 32
"""The most changes under way or waiting. The store makes one after the other."""
OF_A_TENANT: Final = 8
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
        self._places = Places("changes are under way", MOST_AT_A_TIME, OF_A_TENANT)

    async def change(self, principal: Principal, work: Callable[[SubscriptionStore], Awaitable[Result]]) -> Result:
        """The result of *work* with the open store, for *principal*.

        Raises:
            BusyError: too many changes are under way, or too many of this tenant.
            UnconfirmedError: it was not done in time.
            WebhooksError: what *work* raises, or no broker answers.
        """
        with self._places.place(principal):
            try:
                async with asyncio.timeout(SECONDS):
                    await self._open()
                    return await work(self._store)
            except TimeoutError:
                raise UnconfirmedError(
                    f"the broker did not confirm the change within {SECONDS:.0f} s; it may still be made: read the "
                    "subscription before you try again"
                ) from None

    async def _open(self) -> None:
        async with self._opening:
            if not self._is_open:
                await self._store.open()
                self._is_open = True
