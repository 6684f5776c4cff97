"""An event loop with virtual time: when all tasks wait for timers, the clock jumps to the next timer."""

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TURNS = 20
"""The turns of the loop that `settle` allows. The longest chain of callbacks in the core takes about ten."""


TURNS_AT_MOST = 200_000
"""The turns that one `run` may take. A schedule of the simulation takes fewer than two thousand."""


class DeadlockError(RuntimeError):
    """All tasks wait although no timer is set, or the tasks do not end."""


class _JumpingSelector(selectors.SelectSelector):
    """A selector that advances the time. There are no sockets to wait for."""

    now = 1_000.0
    turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError("every task waits, and no timer is set")
        self.turns += 1
        if self.turns == TURNS_AT_MOST:
            raise DeadlockError(f"no end after {TURNS_AT_MOST} turns of the loop")
        self.now += max(0.0, timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The standard event loop with a virtual clock."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds."""
        return self._jumping.now

    @property
    def is_settled(self) -> bool:
        """Whether no other task can run until time passes."""
        timers = self._scheduled  # type: ignore[attr-defined] # both attributes of the standard loop are private
        return not self._ready and not (timers and timers[0].when() <= self.time() + self._clock_resolution)  # type: ignore[attr-defined] # see above


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* in virtual time, and cancel the tasks that *main* leaves behind."""
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(main)
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.close()


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Turn a coroutine function into a synchronous test that runs in virtual time: `@in_virtual_time`."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return wrapper


async def settle(turns: int = TURNS) -> None:
    """Run all tasks that can run without time passing, for at most *turns* turns of the loop."""
    loop = asyncio.get_running_loop()
    for _ in range(turns):
        await asyncio.sleep(0)
        if isinstance(loop, VirtualTimeLoop) and loop.is_settled:
            return


async def within(awaitable: Awaitable[None], seconds: float = 60.0) -> None:
    """Await *awaitable*, which has to end within *seconds* of virtual time."""
    async with asyncio.timeout(seconds):
        await awaitable
