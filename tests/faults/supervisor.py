"""A supervisor, as every worker has one: whoever leaves by himself is started again."""

import asyncio
import contextlib
import signal
from typing import Final

from tests.faults.stage import Stage
from tests.support.cluster import Worker

START_SECONDS: Final = 120.0
"""For a worker that finds a broker down when it starts, ends and is started again, until it finds it up."""


async def start_workers(stage: Stage, count: int = 1) -> None:
    """Start so many, and return when all that run are ready and own every partition between them.

    Whoever leaves meanwhile is replaced, one that ran before as well; the result of the run counts it.

    Raises:
        TimeoutError: they are not ready in time.
    """
    wanted = len(stage.workers) + count
    async with asyncio.timeout(START_SECONDS):
        while True:
            while len(stage.workers) < wanted:
                await stage.cluster.start_worker()
            with contextlib.suppress(AssertionError):  # one has ended
                return await stage.cluster.until_ready(*stage.workers)


def left_by_themselves(stage: Stage) -> list[Worker]:
    """Those that have ended with an error and were not killed."""
    return [worker for worker in stage.cluster.workers if worker.process.returncode not in {None, 0, -signal.SIGKILL}]
