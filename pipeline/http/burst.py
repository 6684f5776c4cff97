"""Groups requests: all requests of one turn of the event loop are written in immediate succession.

Most of the time of a send is spent on waking the receiving process (in the kernel). If the worker did other work
between two requests (reading an answer, advancing a lane), the receiving process would go back to sleep, and each
request would wake it again. The price of a burst: a request that is alone in its turn waits for one more turn.
tests/benchmarks/README.md has figures.
"""

import asyncio

from pipeline.http.connection import Wire


class Burst:
    """Collects the connections that are added in one turn of *loop*.

    In the next turn, writes their requests in the same order.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Wire] = []

    def add(self, wire: Wire) -> None:
        """Let *wire* write its request in the next turn, unless the connection ends first."""
        if not self._waiting:
            self._loop.call_soon(self._write)
        self._waiting.append(wire)

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        for wire in waiting:
            wire.write()
