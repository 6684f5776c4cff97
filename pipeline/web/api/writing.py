"""Makes the API's changes with the store of the worker. Opens the store on first use, and limits concurrent changes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pipeline.core.errors import UnconfirmedError
from pipeline.subscriptions.store import SubscriptionStore
from pipeline.web.principal import Principal
from pipeline.web.tenant_limits import Places

MOST_AT_A_TIME: Final = 32
"""The largest number of changes that are under way or waiting. The store makes one after another."""
OF_A_TENANT: Final = 8
SECONDS: Final = 20.0
"""The time limit of a change. Requests to a broker have 10 s."""

Result = TypeVar("Result")


class Writing:
    """Makes changes.

    Args:
        store: the store, not open yet; it uses the registry of the worker.
    """

    def __init__(self, store: SubscriptionStore) -> None:
        self._store = store
        self._is_open = False
        self._opening = asyncio.Lock()
        self._places = Places("changes are under way", MOST_AT_A_TIME, OF_A_TENANT)

    async def change(self, principal: Principal, work: Callable[[SubscriptionStore], Awaitable[Result]]) -> Result:
        """Call *work* with the open store, for *principal*, and return its result.

        Raises:
            BusyError: too many changes are under way, for all callers or for this tenant.
            UnconfirmedError: *work* did not end in time.
            WebhooksError: *work* raised it, or no broker answers.
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
