"""The waits of a lane: for another try, for its turn, for the lease. One call ends all of them."""

import asyncio

from pipeline.core.lease import Lease


class Sleepers:
    """The runners of one lane that wait."""

    __slots__ = ("_sleepers",)

    def __init__(self) -> None:
        self._sleepers: set[asyncio.Future[None]] = set()

    async def sleep(self, seconds: float) -> None:
        """Return after *seconds*, or when the lane is woken."""
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _wake, sleeper)
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            timer.cancel()
            self._sleepers.discard(sleeper)

    async def sleep_without(self, lease: Lease) -> None:
        """Return when *lease* is held, or when the lane is woken."""
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.add(sleeper)
        try:
            with lease.waking(sleeper):
                await sleeper
        finally:
            self._sleepers.discard(sleeper)

    def wake(self) -> None:
        """End the waits: something has changed."""
        for sleeper in self._sleepers:
            _wake(sleeper)


def _wake(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)
