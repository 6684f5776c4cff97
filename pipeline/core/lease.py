"""Until when this worker may believe that its partitions are its own.

    heartbeat sent ──▶ confirmed: the coordinator keeps the member for a session timeout at least, counted from
                       when it got the request, which was not before it was sent

So nothing may be sent once the last confirmed heartbeat was *sent* longer ago than that, less a second: others may own
the partitions, and this worker, stopped or cut off, would be the last to hear of it. A confirmed heartbeat renews the
lease (kafka/internals.py). Heartbeats and attempts share the worker's event loop: if it was blocked, the lease has
ended by the clock before anything is sent.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Final

from pipeline.core.clock import machine_now
from pipeline.core.errors import LeaseEndedError

MARGIN_SECONDS: Final = 1.0
"""How long before the session the lease ends: allows for the time of a request, and for clocks that drift."""


class Lease:
    """One worker's, over all of its partitions; not held before the first heartbeat.

    Args:
        seconds: how long it lasts from the moment at which a heartbeat was sent that is confirmed.
        now: a clock that goes on while this process is stopped.
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
        """Return if it is held. Raises: LeaseEndedError."""
        if self.now() >= self._until:
            raise LeaseEndedError("the group has confirmed no heartbeat in time")

    def renew(self, sent_at: float) -> None:
        """A request of a member of the group, sent at *sent_at*, was confirmed. May be called from any thread."""
        self._until = max(self._until, sent_at + self._seconds)
        # The end first, then those who sleep; `waking` does it the other way round, so nobody is missed.
        if self._sleepers and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the worker has ended meanwhile
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)

    @contextlib.contextmanager
    def waking(self, sleeper: "asyncio.Future[None]") -> Iterator[None]:
        """Within it, *sleeper* is woken by a renewal, and at once if there was one already."""
        self._loop = sleeper.get_loop()
        self._sleepers.add(sleeper)
        if self.is_held and not sleeper.done():
            sleeper.set_result(None)
        try:
            yield
        finally:
            self._sleepers.discard(sleeper)
