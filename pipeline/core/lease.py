"""Until when this worker may assume that it owns its partitions.

    heartbeat sent ──▶ received ──▶ confirmed
                          └─ from here on, the coordinator keeps the member for at least a session timeout

The worker only knows when it *sent* the heartbeat, which is earlier than its arrival. So the lease ends one session
timeout, less a second, after the heartbeat was sent. Without a lease nothing may be sent: another worker may own the
partitions. A worker that was stopped or cut off would not notice this change of owner. A confirmed heartbeat renews the
lease, and so does a confirmed SyncGroup request, which ends a rebalance (kafka/internals.py). The lease depends only on
the clock, so it also expires while the worker's event loop is blocked.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Final

from pipeline.core.clock import machine_now
from pipeline.core.errors import LeaseEndedError

MARGIN_SECONDS: Final = 1.0
"""The lease ends this long before the session: a request takes time, and clocks drift."""


class Lease:
    """A worker's lease on all of its partitions; not held before it is first renewed.

    Args:
        seconds: how long the lease lasts, counted from when the confirmed request was sent.
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
        """Raise LeaseEndedError unless the lease is held."""
        if self.now() >= self._until:
            raise LeaseEndedError("the group has confirmed no heartbeat in time")

    def renew(self, sent_at: float) -> None:
        """Extend the lease: the group has confirmed a request sent at *sent_at*. May be called from any thread."""
        self._until = max(self._until, sent_at + self._seconds)
        # `renew` sets the end before it wakes the sleepers, and `waking` adds a sleeper before it reads the end. So no
        # sleeper is missed.
        if self._sleepers and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the worker has ended in the meantime
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)

    @contextlib.contextmanager
    def waking(self, sleeper: "asyncio.Future[None]") -> Iterator[None]:
        """A context in which a renewal wakes *sleeper*. If the lease is held already, *sleeper* wakes at once."""
        self._loop = sleeper.get_loop()
        self._sleepers.add(sleeper)
        if self.is_held and not sleeper.done():
            sleeper.set_result(None)
        try:
            yield
        finally:
            self._sleepers.discard(sleeper)
