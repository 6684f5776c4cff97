"""Limits the requests in flight of the worker, and of each subscription in all of its partitions.

The worker has a bounded number of slots. Receivers that don't answer must not take all of them. So a lane whose last
attempt timed out is *suspect*: other lanes get free slots before suspects, and suspects hold at most half of the slots
(docs/design.md, Limits). Every eighth slot that becomes free goes to a suspect, so that suspects don't starve.
"""

import asyncio
import contextlib
from collections import deque

SUSPECT_TURN = 8


class Slots:
    """A semaphore with two queues.

    Args:
        limit: the number of slots, at least 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._suspect_limit = max(1, limit // 2)
        self._taken = 0
        self._taken_by_suspects = 0
        self._trusted: deque[asyncio.Future[None]] = deque()
        self._suspects: deque[asyncio.Future[None]] = deque()
        self._granted = 0

    @property
    def taken(self) -> int:
        """Slots in use."""
        return self._taken

    def try_acquire(self, *, suspect: bool) -> bool:
        """Take a slot if one is free and no lane waits for one. Returns whether a slot was taken."""
        if self._taken >= self._limit or self._trusted:
            return False
        if suspect:
            if self._suspects or self._taken_by_suspects >= self._suspect_limit:
                return False
            self._taken_by_suspects += 1
        self._taken += 1
        return True

    async def acquire(self, *, suspect: bool) -> None:
        """Wait for a slot. Give it back by `release` with the same *suspect*."""
        if self.try_acquire(suspect=suspect):
            return
        queue = self._suspects if suspect else self._trusted
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                # if the waiter is still in the queue, `_grant` skips it
                with contextlib.suppress(ValueError):
                    queue.remove(turn)
            else:
                self.release(suspect=suspect)
            raise

    def release(self, *, suspect: bool) -> None:
        """Free a slot, or pass it to the next lane in line."""
        self._taken -= 1
        if suspect:
            self._taken_by_suspects -= 1
        self._grant()

    def _grant(self) -> None:
        while self._taken < self._limit:
            suspects_turn = self._suspects and (not self._trusted or self._granted % SUSPECT_TURN == 0)
            if suspects_turn and self._taken_by_suspects < self._suspect_limit:
                self._taken_by_suspects += self._hand_over(self._suspects)
            elif self._trusted:
                self._hand_over(self._trusted)
            else:
                return

    def _hand_over(self, queue: deque[asyncio.Future[None]]) -> bool:
        turn = queue.popleft()
        if turn.done():  # cancelled while it waited
            return False
        self._taken += 1
        self._granted += 1
        turn.set_result(None)
        return True


class ConcurrencyLimits:
    """Limits the requests in flight of each subscription over all lanes, with `routing: match` or several topics.

    Lanes that wait get their turn in order. With `routing: key` and one topic, a subscription usually has one lane,
    which enforces the limit itself.
    """

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._limits: dict[str, int] = {}  # from the newest revision that called `acquire`
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def taken(self, subscription_id: str) -> int:
        """How many requests of the subscription are in flight."""
        return self._taken.get(subscription_id, 0)

    async def acquire(self, subscription_id: str, limit: int) -> None:
        """Wait until fewer than *limit* requests are in flight, and take a place; give it back with `release`."""
        taken = self._taken.get(subscription_id, 0)
        self._limits[subscription_id] = limit
        if taken < limit and subscription_id not in self._waiting:
            self._taken[subscription_id] = taken + 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(subscription_id, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.release(subscription_id)
            raise

    def release(self, subscription_id: str) -> None:
        """Give a place back, and admit waiting lanes up to the limit, which an edit may have changed."""
        left, limit = self._taken[subscription_id] - 1, self._limits[subscription_id]
        waiting = self._waiting.get(subscription_id, deque())
        while waiting and left < limit:
            turn = waiting.popleft()
            if not turn.done():  # a waiter that is done was cancelled
                turn.set_result(None)
                left += 1
        if not waiting:
            self._waiting.pop(subscription_id, None)
        if left:
            self._taken[subscription_id] = left
        else:
            del self._taken[subscription_id], self._limits[subscription_id]
