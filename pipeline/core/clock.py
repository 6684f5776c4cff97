"""The time as a dependency: code that reads a clock or waits gets a `Clock`, so that tests control the time.

    Clock.now      for times that are stored, shown or agreed with others: the next attempt in a row, the expiry of a
                   token, `startingAt`. The system clock may jump.
    steady_now     for durations in this process, such as how long a lane has held an event
    machine_now    for the lease, which has to expire while the process is stopped

A wait that has begun is a timer of the event loop, so a jump of the system clock does not change it.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

_MACHINE_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> float:
        """Unix time in seconds."""

    async def sleep(self, seconds: float) -> None:
        """Return after *seconds*; at once if they are not positive."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Unix time in seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(max(0.0, seconds))


def steady_now() -> float:
    """Seconds of the running event loop's clock, to measure durations in this process.

    The system clock is not suitable: if it was set back by hours, a wait would last hours longer.
    """
    return asyncio.get_running_loop().time()


def machine_now() -> float:
    """Seconds of a clock that never goes back, and continues while this process is stopped or its machine is suspended.

    It is CLOCK_BOOTTIME on Linux, elsewhere CLOCK_MONOTONIC, which may stop while the machine is suspended. The clock
    of an event loop is not suitable: it may show the time at which the current iteration began, which may be before
    the process was stopped.
    """
    return time.clock_gettime(_MACHINE_CLOCK)


def shown_time(moment: float) -> str | None:
    """*moment*, Unix seconds, in RFC 3339. None for 0, and for years that a date can't have; a row may contain both."""
    return rfc3339(moment) if moment else None


def rfc3339(
    moment: float, precision: Literal["seconds", "milliseconds"] = "seconds", zone: Literal["Z", "+00:00"] = "Z"
) -> str | None:
    """*moment*, Unix seconds, as RFC 3339 in UTC, with *zone* at its end; None before the year 1 and after 9999."""
    try:
        return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).isoformat(timespec=precision) + zone
    except (OverflowError, ValueError, OSError):
        return None
