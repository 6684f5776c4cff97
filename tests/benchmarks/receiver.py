"""The receiver as the benchmark sees it: where to send to, how it behaves, what has arrived."""

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
"""So long may nothing arrive before a run counts as stuck."""


class IncompleteRunError(TimeoutError):
    """Nothing arrives any more, although events are missing.

    Args:
        taken: the number of events that have arrived.
        target: the number of events that were to arrive.
        last_lines: the end of the sender's log.
    """

    def __init__(self, taken: int, target: int, last_lines: str) -> None:
        self.short = f"{taken:,} of {target:,} have arrived, and no more come"
        super().__init__(f"{self.short}:\n{last_lines}")


@dataclass(frozen=True, slots=True)
class Stretch:
    """From the first to the last arrival of a run.

    Attributes:
        deliveries: arrivals that were taken.
        seconds: between the first and the last one.
        cpu_seconds: what the sending process used in between.
        peak_bytes: the most memory it ever had.
    """

    deliveries: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int

    @property
    def per_second(self) -> float:
        """Deliveries per second."""
        return self.deliveries / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Deliveries per second of the CPU."""
        return self.deliveries / self.cpu_seconds

    @property
    def cpu_microseconds(self) -> float:
        """CPU time per delivery."""
        return 1e6 * self.cpu_seconds / self.deliveries

    @property
    def cpu_share(self) -> float:
        """How much of one core was used."""
        return self.cpu_seconds / self.seconds


class Receiver:
    """The handle of a receiver's process.

    Args:
        url: where it takes webhooks.
        session: connected to its control server.
        child: its process.
    """

    def __init__(self, url: str, session: ClientSession, child: Child) -> None:
        self.url = url
        self._session = session
        self._child = child

    async def behave(self, numbers: Iterable[int], *, status: int = 200, after_seconds: float = 0.0) -> None:
        """Answer these subscriptions with *status* after that long from now on; a status of 0 never answers."""
        wish = {"numbers": list(numbers), "status": status, "after_seconds": after_seconds}
        await self._child.unless_it_ends(self._put("/behaviour", wish))

    async def watch(self, sender: Child, target: int, *, lowest: int = 0) -> None:
        """Begin to count what *sender* delivers to subscriptions from *lowest* on, up to *target*."""
        wish = {"pid": sender.pid, "lowest": lowest, "target": target}
        await self._child.unless_it_ends(self._put("/watch", wish))

    async def _put(self, path: str, wish: object) -> None:
        async with self._session.put(path, json=wish):
            pass

    async def stretch(self, sender: Child, target: int) -> Stretch:
        """Wait until all that is watched has been taken.

        Raises:
            IncompleteRunError: nothing arrives any more.
            ChildEndedError: one of the processes ended.
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
        """How much of what is watched has been taken."""
        async with self._session.get("/taken") as answer:
            return int(await answer.text())

    async def begun(self) -> None:
        """Return when the first of what is watched has been taken."""
        async with self._session.get("/begun"):
            pass

    async def arrivals(self) -> list[Arrival]:
        """Every request so far."""
        async with self._session.get("/arrivals") as answer:
            return unpack(await answer.read())


@asynccontextmanager
async def receiving(log: Path) -> AsyncIterator[Receiver]:
    """A receiver, fresh: everything is answered with 200 at once."""
    # They listen before the process is there, so that nobody has to wait for it.
    traffic, control = (socket.create_server((HOST, 0), backlog=BACKLOG) for _ in range(2))
    with traffic, control:
        sockets = (traffic.fileno(), control.fileno())
        url, commands = (f"http://{HOST}:{each.getsockname()[1]}" for each in (traffic, control))
        async with (
            running("tests.benchmarks.receiver_process", *map(str, sockets), log=log, sockets=sockets) as child,
            ClientSession(commands, timeout=ClientTimeout(), raise_for_status=True) as session,
        ):
            yield Receiver(url, session, child)
