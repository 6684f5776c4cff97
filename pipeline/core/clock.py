"""The time, as a collaborator: everything that reads a clock or waits is given one, so tests own the time."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

_MACHINE_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


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


def machine_now() -> float:
    """Seconds of a clock that only goes forward, also while this process is stopped or its machine is suspended.

    Linux' CLOCK_BOOTTIME; CLOCK_MONOTONIC, which stands still in a suspended machine, where there is no such clock.
    An event loop's own clock may be that of its last turn, and be wrong by all that the process was stopped for.
    """
    return time.clock_gettime(_MACHINE_CLOCK)


def shown_time(moment: float) -> str | None:
    """*moment*, Unix seconds, in RFC 3339; None for 0 and for what is no time: rows and records may say anything."""
    return rfc3339(moment) if moment else None


def rfc3339(
    moment: float, precision: Literal["seconds", "milliseconds"] = "seconds", zone: Literal["Z", "+00:00"] = "Z"
) -> str | None:
    """*moment*, Unix seconds, in RFC 3339 and UTC, which *zone* writes; None before the year 1 and after 9999."""
    try:
        return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).isoformat(timespec=precision) + zone
    except (OverflowError, ValueError, OSError):
        return None
