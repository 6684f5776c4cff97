"""Waits for conditions that can only be asked for: a broker's state, a web view."""

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
        condition: asked ten times a second.
        within_seconds: the deadline, which begins anew whenever *progress* has changed.
        says: what to say when it has passed.
        progress: how far the condition has come; a slow machine takes its time, and only what stands still is stuck.

    Raises:
        TimeoutError: it has passed.
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
