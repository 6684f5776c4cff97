"""An event loop whose clock jumps: when every task waits for a timer, it is that time at once."""

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TURNS = 20
"""How many turns of the loop `settle` gives; the longest chain of callbacks in the core takes about ten."""


TURNS_AT_MOST = 200_000
"""How many turns one `run` may take; a schedule of the simulation takes fewer than two thousand."""


class DeadlockError(RuntimeError):
    """Every task waits, and no timer will ever wake one; or they go on and on."""


class _JumpingSelector(selectors.SelectSelector):
    """Passes the time instead of waiting for sockets, of which there are none."""

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
    """The standard loop over a clock of its own."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds."""
        return self._jumping.now

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to run beside the caller until time passes."""
        timers = self._scheduled  # type: ignore[attr-defined] # the standard loop keeps both where nothing public shows them
        return not self._ready and not (timers and timers[0].when() <= self.time() + self._clock_resolution)  # type: ignore[attr-defined] # so too


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run *main* in virtual time; tasks that it leaves behind are cancelled."""
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
    """Make a plain test of a coroutine: `@in_virtual_time`."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return wrapper


async def settle(turns: int = TURNS) -> None:
    """Let everything happen that can happen without time passing, in so many turns of the loop at most."""
    loop = asyncio.get_running_loop()
    for _ in range(turns):
        await asyncio.sleep(0)
        if isinstance(loop, VirtualTimeLoop) and loop.is_settled:
            return


async def within(awaitable: Awaitable[None], seconds: float = 60.0) -> None:
    """Await something that has to come in *seconds* of virtual time."""
    async with asyncio.timeout(seconds):
        await awaitable
