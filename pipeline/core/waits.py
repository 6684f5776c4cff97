"""The waits of a lane: for a retry, the rate, the lease or a slot. `end` ends all of them except those for slots."""

import asyncio
from collections.abc import Callable

from pipeline.core.concurrency import Slots
from pipeline.core.lease import Lease


class Waits:
    """The waiting runners of one lane, and the timer of an event that waits in the log.

    Attributes:
        for_slots: how many runners wait for a slot of the worker.
    """

    __slots__ = ("_sleepers", "_timer", "for_slots")

    def __init__(self) -> None:
        self.for_slots = 0
        self._sleepers: set[asyncio.Future[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

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

    async def until_held(self, lease: Lease) -> None:
        """Return when *lease* is held, or when the lane is woken."""
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.add(sleeper)
        try:
            with lease.waking(sleeper):
                await sleeper
        finally:
            self._sleepers.discard(sleeper)

    async def until_slot(self, slots: Slots, *, suspect: bool) -> None:
        """Wait for a slot. The caller has to release it."""
        self.for_slots += 1
        try:
            await slots.acquire(suspect=suspect)
        finally:
            self.for_slots -= 1

    def wake(self) -> None:
        """End the waits of runners, except those for slots. Each runner then checks whether it may continue."""
        for sleeper in self._sleepers:
            _wake(sleeper)

    def end(self) -> None:
        """End all waits except those for slots."""
        self.end_timer()
        self.wake()

    @property
    def is_timed(self) -> bool:
        """Whether an event in the log is not due yet."""
        return self._timer is not None

    def set_timer(self, seconds: float, when_due: Callable[[], None]) -> None:
        """Call *when_due* after *seconds*."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._due, when_due)

    def _due(self, when_due: Callable[[], None]) -> None:
        self._timer = None
        when_due()

    def end_timer(self) -> None:
        """Cancel the timer, if it runs."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _wake(sleeper: "asyncio.Future[None]") -> None:
    if not sleeper.done():
        sleeper.set_result(None)
