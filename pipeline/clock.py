"""The time, as a collaborator: everything that reads a clock or waits is given one, so tests own the time."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What time it is, and how to let some pass."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after *seconds* (at once for zero and below)."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since the Unix epoch, as the machine has it."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(max(0.0, seconds))


def steady_now() -> float:
    """Seconds of the running event loop's clock: for how long something has lasted in this process.

    The machine's clock may be set back by hours; what is measured by it would not end before it has caught up.
    """
    return asyncio.get_running_loop().time()
