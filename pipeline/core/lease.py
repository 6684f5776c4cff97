"""Until when this worker may assume that it owns its partitions.

    heartbeat sent ──▶ confirmed: the coordinator keeps the member for at least a session timeout, counted from
                       receiving the request, which was not before it was sent

So nothing may be sent if the last confirmed heartbeat was *sent* longer ago than that, less a second: others may own
the partitions, and a worker that was stopped or cut off would be the last to know. A confirmed heartbeat renews the
lease (kafka/internals.py). Heartbeats and attempts share the worker's event loop. If the loop was blocked, the lease
expires before anything is sent, because it depends only on the clock.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Final

from pipeline.core.clock import machine_now
from pipeline.core.errors import LeaseEndedError

MARGIN_SECONDS: Final = 1.0
"""How long before the session the lease ends: allows for the duration of a request, and for clocks that drift."""


class Lease:
    """A worker's lease on all of its partitions; not held before the first heartbeat.

    Args:
        seconds: how long it lasts after the sending of a confirmed heartbeat.
        now: a clock that continues while this process is stopped.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = machine_now) -> None:
        self.now = now
        self._seconds = seconds
        self._until = -math.inf
        self._sleepers: set[asyncio.Future[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def is_held(self) -> bool:
        """Whether this worker certainly owns its partitions."""
        return self.now() < self._until

    def check(self) -> None:
        """Raise LeaseEndedError unless it is held."""
        if self.now() >= self._until:
            raise LeaseEndedError("the group has confirmed no heartbeat in time")

    def renew(self, sent_at: float) -> None:
        """Extend it, because a heartbeat sent at *sent_at* was confirmed. May be called from any thread."""
        self._until = max(self._until, sent_at + self._seconds)
        # First the end, then the sleepers; `waking` does it in the opposite order, so no sleeper is missed.
        if self._sleepers and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the worker has ended meanwhile
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)

    @contextlib.contextmanager
    def waking(self, sleeper: "asyncio.Future[None]") -> Iterator[None]:
        """While entered, a renewal wakes *sleeper*; if the lease is held already, it wakes at once."""
        self._loop = sleeper.get_loop()
        self._sleepers.add(sleeper)
        if self.is_held and not sleeper.done():
            sleeper.set_result(None)
        try:
            yield
        finally:
            self._sleepers.discard(sleeper)
