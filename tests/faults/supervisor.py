"""A supervisor, as every worker has one: whoever leaves by himself is started again."""

import asyncio
import signal
from typing import Final

from tests.cluster import Worker
from tests.faults.stage import Stage

START_SECONDS: Final = 90.0
"""For a worker that finds a broker down when it starts, ends and is started again, until it finds it up."""


async def start_workers(stage: Stage, count: int = 1) -> None:
    """Start so many, and return when all that run are ready and own every partition between them.

    Raises:
        AssertionError: one that ran before has ended meanwhile.
        TimeoutError: they are not ready in time.
    """
    before = stage.workers
    async with asyncio.timeout(START_SECONDS):
        while True:
            while len(stage.workers) < len(before) + count:
                await stage.cluster.start_worker()
            try:
                await stage.cluster.until_ready(*stage.workers)
            except AssertionError:
                if not all(worker.is_running for worker in before):
                    raise
            else:
                return


def left_by_themselves(stage: Stage) -> list[Worker]:
    """Those that have ended with an error and were not killed."""
    return [worker for worker in stage.cluster.workers if worker.process.returncode not in {None, 0, -signal.SIGKILL}]
