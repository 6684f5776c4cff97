"""Ends a worker whose stop does not end, and logs what it waits for.

A stop waits for Faust, aiokafka and aiohttp. If one of these waits never ended, the process would live on until a
service manager kills it, and nothing would show the reason. At the deadline, the partitions have been drained and
committed, if that was possible.
"""

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final

from pipeline.observability.logs import Facts

logger = logging.getLogger(__name__)

STOP_SECONDS: Final = 50.0
"""Longer than the longest WEBHOOKS_DRAIN_SECONDS (20 s), the wait for the last rows (10 s), the last commit (10 s) and
leaving the group (5 s) together, plus 5 s to close everything else. Shorter than the 55 s after which
`webhooks cluster` kills a worker (docs/design.md, Lanes and cursors)."""
EXIT_CODE: Final = 1


def end_after(seconds: float, loop: asyncio.AbstractEventLoop, end: Callable[[int], object] = os._exit) -> None:
    """End the process after *seconds*, if it still runs. Logs what each task and thread waits for.

    It works in a separate thread, because the loop may be blocked, or closed already.
    """
    timer = threading.Timer(seconds, _end, (seconds, loop, end))
    timer.daemon = True
    timer.start()


def _end(seconds: float, loop: asyncio.AbstractEventLoop, end: Callable[[int], object]) -> None:
    try:
        logger.critical(Facts("worker.stop_overdue", {"seconds": seconds, "exit_code": EXIT_CODE}))
        for task in asyncio.all_tasks(loop):
            logger.critical(Facts("worker.stop_waits", {"task": task.get_name(), "at": " > ".join(_frames_of(task))}))
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented, "for debugging deadlocks"
            if ident != threading.get_ident():
                outermost_first = reversed([_shown(each) for each, _ in traceback.walk_stack(frame)])
                at = " > ".join(outermost_first)
                logger.critical(Facts("worker.stop_waits", {"thread": names.get(ident, "-"), "at": at}))
    finally:
        end(EXIT_CODE)


def _frames_of(task: "asyncio.Task[Any]") -> Iterator[str]:
    """Where a task and the coroutines that it awaits are suspended, the outermost first."""
    awaited: Any = task.get_coro()
    while awaited is not None:
        # Coroutines, generators and asynchronous generators name these attributes differently.
        prefix = next((each for each in ("cr", "gi", "ag") if hasattr(awaited, f"{each}_frame")), None)
        if prefix is None:
            return
        frame = getattr(awaited, f"{prefix}_frame")
        if frame is not None:
            yield _shown(frame)
        awaited = getattr(awaited, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await")


def _shown(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '-')}.{frame.f_code.co_name}:{frame.f_lineno}"
