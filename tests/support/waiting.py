"""Waits for conditions that can only be asked for: a broker's state, a web view."""

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(
    condition: Callable[[], Awaitable[bool]], *, within_seconds: float, says: Callable[[], str]
) -> None:
    """Return when the condition holds.

    Args:
        condition: asked ten times a second.
        within_seconds: the deadline.
        says: what to say when it has passed.

    Raises:
        TimeoutError: it has passed.
    """
    try:
        async with asyncio.timeout(within_seconds):
            while not await condition():  # noqa: ASYNC110 - what is asked is in another process, which rings no bell
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise TimeoutError(f"after {within_seconds} s: {says()}") from None
