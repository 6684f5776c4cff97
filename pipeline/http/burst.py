"""Groups requests: all requests of one turn of the event loop are written in immediate succession.

A send costs most of its time because the kernel wakes the receiving process. If the worker did other work between two
requests (reading an answer, advancing a lane), the receiving process would go back to sleep, and each request would
wake it again. This has a cost: a request that is alone in its turn waits for one more turn. tests/benchmarks/README.md
has figures.
"""

import asyncio


class Burst:
    """Lets all callers of one turn of *loop* continue together in the next turn, in the order of their calls."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[asyncio.Future[None]] = []

    def begins(self) -> "asyncio.Future[None]":
        """A future that is done when the burst begins. The caller may cancel it without affecting others."""
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
