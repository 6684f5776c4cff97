"""Faults of workers: killed, paused, stopped, restarted, added, removed."""

import random
import signal
from typing import Final

from tests.faults.fault import CLEAN, INTERRUPTED, SESSION_SECONDS, WOKEN, Fault
from tests.faults.stage import Stage
from tests.faults.supervisor import start_workers
from tests.support.worker import Worker


def _any_worker(stage: Stage, rng: random.Random) -> Worker:
    return rng.choice(stage.workers)


async def worker_killed(stage: Stage, rng: random.Random) -> None:
    """A worker is killed, and a new one is started."""
    await _any_worker(stage, rng).kill()
    await stage.steady(2)
    await start_workers(stage)


async def worker_frozen(stage: Stage, rng: random.Random) -> None:
    """A worker is paused for longer than its session timeout, so that it continues as a former owner."""
    worker = _any_worker(stage, rng)
    worker.send_signal(signal.SIGSTOP)
    await stage.steady(SESSION_SECONDS + 5)
    worker.send_signal(signal.SIGCONT)
    await stage.steady(5)


async def worker_stopped(stage: Stage, rng: random.Random) -> None:
    """A worker is stopped with SIGTERM, and a new one is started."""
    await _end_cleanly(_any_worker(stage, rng))
    await start_workers(stage)


async def rolling_restart(stage: Stage, _: random.Random) -> None:
    """The workers are stopped and replaced, one after another."""
    for worker in stage.workers:
        await _end_cleanly(worker)
        await start_workers(stage)
        await stage.steady(1)


async def scaled(stage: Stage, _: random.Random) -> None:
    """The number of workers is one, then four, then two."""
    for _number in range(3):
        await start_workers(stage)
    await stage.steady(2)
    for worker in stage.workers[:2]:
        await _end_cleanly(worker)
    await stage.cluster.until_ready(*stage.workers)


async def _end_cleanly(worker: Worker) -> None:
    code = await worker.terminate()
    if code:
        raise AssertionError(f"a worker ended with {code}: {worker.output()[-2000:]}")


WORKER_FAULTS: Final = (
    Fault("worker-killed", "a worker: kill -9", worker_killed, INTERRUPTED, {"workers"}),
    Fault("worker-frozen", "a worker: SIGSTOP for 20 s, SIGCONT", worker_frozen, WOKEN, {"workers"}),
    Fault("worker-stopped", "a worker: SIGTERM", worker_stopped, CLEAN, {"workers"}),
    Fault("rolling-restart", "workers: rolling restart", rolling_restart, CLEAN, {"workers"}),
    Fault("scaled", "workers: 1, 4, 2", scaled, CLEAN, {"workers"}, workers=1),
)
