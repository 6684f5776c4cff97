"""Starts and stops the parts of a process that Faust does not start, and runs their tasks."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from mode import Service


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is started first, if it has *start*, and closed at the end."""

    close: Callable[[], Awaitable[object]]
    start: Callable[[], Awaitable[object]] | None = None


class Engine(Service):
    """The parts of a worker or a console, as one service: the first to start, the last to stop.

    Args:
        parts: started in this order, before partitions are assigned, and closed in reverse order.
        tasks: run until the service stops. The process ends if one of them raises an error.
    """

    def __init__(
        self, parts: Sequence[Part], tasks: Sequence[Callable[[], Awaitable[None]]] = (), **options: Any
    ) -> None:
        super().__init__(**options)
        self._closing = AsyncExitStack()
        self._parts = parts
        self._watches = tasks

    async def on_start(self) -> None:
        """Start the parts."""
        for part in self._parts:
            if part.start is not None:
                await part.start()
            self._closing.push_async_callback(part.close)

    async def on_started(self) -> None:
        """Start the tasks."""
        for task in self._watches:
            self.add_future(task())

    async def on_stop(self) -> None:
        """Close everything. In a worker, the partitions were drained and closed before (`DeliveryApp.on_stop`)."""
        await self._closing.aclose()
