"""Waits for conditions that can only be polled: the state of a broker, an answer from a worker's web server."""

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(
    condition: Callable[[], Awaitable[bool]],
    *,
    within_seconds: float,
    says: Callable[[], str],
    progress: Callable[[], object] = lambda: None,
) -> None:
    """Return when the condition holds.

    Args:
        condition: checked ten times a second.
        within_seconds: the time limit, which begins again whenever *progress* has changed.
        says: returns the error message.
        progress: returns a value that changes while the condition makes progress, so that slow machines have time.

    Raises:
        TimeoutError: the time limit has passed.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(within_seconds) as deadline:
            known = progress()
            while not await condition():
                if progress() != known:
                    known = progress()
                    deadline.reschedule(loop.time() + within_seconds)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise TimeoutError(f"after {within_seconds} s: {says()}") from None
