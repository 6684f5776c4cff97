"""Starts the receiver's process, controls how it answers, and asks it for the arrivals."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import ClientSession, ClientTimeout

from tests.benchmarks.arrivals import Arrival, unpack
from tests.benchmarks.processes import Child, running
from tests.benchmarks.procfs import memory

HOST: Final = "127.0.0.1"
BACKLOG: Final = 1024
STALE_SECONDS: Final = 30.0
"""A run in which nothing arrives for this long is stuck."""


class IncompleteRunError(TimeoutError):
    """No more events arrive, although some are missing.

    Args:
        taken: the number of events that have arrived.
        target: the number of events that had to arrive.
        last_lines: the last lines of the sender's log.
    """

    def __init__(self, taken: int, target: int, last_lines: str) -> None:
        self.short = f"{taken:,} of {target:,} have arrived, and no more come"
        super().__init__(f"{self.short}:\n{last_lines}")


@dataclass(frozen=True, slots=True)
class Stretch:
    """The time from the first to the last arrival of a run.

    Attributes:
        deliveries: the number of arrivals that were taken, without the first one.
        seconds: the time from the first to the last arrival.
        cpu_seconds: the CPU time of the sender's process in that time.
        peak_bytes: the largest memory of the sender's process so far.
    """

    deliveries: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int

    @property
    def per_second(self) -> float:
        """The number of deliveries per second."""
        return self.deliveries / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """The number of deliveries per second of CPU time."""
        return self.deliveries / self.cpu_seconds

    @property
    def cpu_microseconds(self) -> float:
        """The CPU time per delivery in microseconds."""
        return 1e6 * self.cpu_seconds / self.deliveries

    @property
    def cpu_share(self) -> float:
        """The share of one core that the sender used."""
        return self.cpu_seconds / self.seconds


class Receiver:
    """A client of a receiver's process.

    Args:
        url: the URL to which webhooks are sent.
        session: a session with the control server of the process.
        child: the process of the receiver.
    """

    def __init__(self, url: str, session: ClientSession, child: Child) -> None:
        self.url = url
        self._session = session
        self._child = child

    async def behave(self, numbers: Iterable[int], *, status: int = 200, after_seconds: float = 0.0) -> None:
        """From now on, answer these subscriptions with *status* after *after_seconds*; with status 0, never answer."""
        wish = {"numbers": list(numbers), "status": status, "after_seconds": after_seconds}
        await self._child.unless_it_ends(self._put("/behaviour", wish))

    async def watch(self, sender: Child, target: int, *, lowest: int = 0) -> None:
        """Begin to count deliveries of *sender* to subscriptions from number *lowest* on, up to *target* deliveries."""
        wish = {"pid": sender.pid, "lowest": lowest, "target": target}
        await self._child.unless_it_ends(self._put("/watch", wish))

    async def _put(self, path: str, wish: object) -> None:
        async with self._session.put(path, json=wish):
            pass

    async def stretch(self, sender: Child, target: int) -> Stretch:
        """Wait until the target of the watch is reached.

        Raises:
            IncompleteRunError: no more events arrive.
            ChildEndedError: the process of the sender or of the receiver ended.
        """
        found = await sender.unless_it_ends(self._child.unless_it_ends(self._reached(sender, target)))
        first, last = found["first"], found["last"]
        return Stretch(
            target - 1,
            last["at"] - first["at"],
            last["cpu_seconds"] - first["cpu_seconds"],
            memory(sender.pid).peak_bytes,
        )

    async def _reached(self, sender: Child, target: int) -> dict[str, dict[str, float]]:
        waiting = asyncio.ensure_future(self._get_watch())
        try:
            before = -1
            while not (await asyncio.wait({waiting}, timeout=STALE_SECONDS))[0]:
                taken = await self.taken()
                if taken == before:
                    raise IncompleteRunError(taken, target, sender.last_lines())
                before = taken
            return waiting.result()
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    async def _get_watch(self) -> dict[str, dict[str, float]]:
        async with self._session.get("/watch") as answer:
            found: dict[str, dict[str, float]] = await answer.json()
        return found

    async def taken(self) -> int:
        """The number of watched deliveries that have been taken so far."""
        async with self._session.get("/taken") as answer:
            return int(await answer.text())

    async def begun(self) -> None:
        """Return when the first watched delivery has been taken."""
        async with self._session.get("/begun"):
            pass

    async def arrivals(self) -> list[Arrival]:
        """All requests that have reached the receiver so far."""
        async with self._session.get("/arrivals") as answer:
            return unpack(await answer.read())


@asynccontextmanager
async def receiving(log: Path) -> AsyncIterator[Receiver]:
    """Run a new receiver, which answers everything with 200 at once."""
    # The sockets listen before the process runs, so that no client has to wait for its start.
    traffic, control = (socket.create_server((HOST, 0), backlog=BACKLOG) for _ in range(2))
    with traffic, control:
        sockets = (traffic.fileno(), control.fileno())
        url, commands = (f"http://{HOST}:{each.getsockname()[1]}" for each in (traffic, control))
        async with (
            running("tests.benchmarks.receiver_process", *map(str, sockets), log=log, sockets=sockets) as child,
            ClientSession(commands, timeout=ClientTimeout(), raise_for_status=True) as session,
        ):
            receiver = Receiver(url, session, child)
            # A sender that starts faster than the receiver's process would deliver events before they are watched.
            await child.unless_it_ends(receiver.taken())
            yield receiver
