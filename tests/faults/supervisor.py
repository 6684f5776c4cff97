"""A supervisor that restarts workers that have ended, like in production."""

import asyncio
import contextlib
import signal
from typing import Final

from tests.faults.stage import Stage
from tests.support.worker import Worker

START_SECONDS: Final = 120.0
"""The time limit of a start. It allows for several restarts of a worker that finds a broker down."""


async def start_workers(stage: Stage, count: int = 1) -> None:
    """Start *count* workers. Returns when all running workers are ready and together own every partition.

    A worker that ends during the wait is replaced, even if it ran before this call. The result of the run counts such
    workers.

    Raises:
        TimeoutError: the workers are not ready in time.
    """
    wanted = len(stage.workers) + count
    async with asyncio.timeout(START_SECONDS):
        while True:
            while len(stage.workers) < wanted:
                await stage.cluster.start_worker()
            with contextlib.suppress(AssertionError):  # a worker has ended
                return await stage.cluster.until_ready(*stage.workers)


def left_by_themselves(stage: Stage) -> list[Worker]:
    """The workers that ended with an error and were not killed."""
    return [worker for worker in stage.cluster.workers if worker.process.returncode not in {None, 0, -signal.SIGKILL}]
