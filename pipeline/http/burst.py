"""Lets the requests of one turn of the event loop be written one right after the other.

Written as soon as it is made, each request wakes a receiver that sleeps, and what lies between two of them, an answer
to be read, a lane to be moved on, is long enough for it to fall asleep again. Waking it is most of what a send costs.
A request that is the only one of its turn pays with one more turn. See tests/benchmarks/README.md for the figures.
"""

import asyncio


class Burst:
    """Whoever asks in one turn of *loop* goes on in the next: all together, in the order in which they asked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[asyncio.Future[None]] = []

    def begins(self) -> "asyncio.Future[None]":
        """What is done when the burst begins. It belongs to the caller alone, who may cancel it."""
        if not self._waiting:
            self._loop.call_soon(self._begin)
        turn = self._loop.create_future()
        self._waiting.append(turn)
        return turn

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if not turn.done():
                turn.set_result(None)
