"""`webhooks cluster` on a real Kafka: a killed worker under load, a stop at each level, the common log."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.fork_server import PROGRAM
from tests.support.free_ports import free_ports
from tests.support.program import clean_environment
from tests.support.recorder import Recorder, recording
from tests.support.waiting import eventually
from tests.support.worker import Worker

SUBSCRIPTIONS = [f"sub-{number}" for number in range(20)]
EVENTS = 6000
START_SECONDS = 90.0
"""A long limit, because the supervisor starts before its workers."""

pytestmark = pytest.mark.timeout(300)


class Supervised(Worker):
    """The supervisor, as a `Worker` whose page is that of the first worker."""

    def entries(self) -> list[dict[str, object]]:
        """The entries of the supervisor's log."""
        return [json.loads(line) for line in self.output().splitlines()]

    def newest_pid(self, worker: str) -> int:
        """The process id of the worker's last start."""
        started = [entry for entry in self.entries() if entry["message"] == "worker.started"]
        return next(int(str(entry["pid"])) for entry in reversed(started) if entry["worker"] == worker)


@asynccontextmanager
async def loaded(
    kafka: TestBroker, name: str, folder: Path, qos: str = "at-least-once"
) -> AsyncIterator[tuple[Cluster, Supervised, Recorder]]:
    """Two workers under one supervisor that deliver a load while it is produced."""
    async with recording() as recorder, cluster(kafka, name, folder, partitions=8, qos=qos) as found:
        await found.subscribe(recorder, *SUBSCRIPTIONS)
        supervised = await start(found, folder)
        await found.until_ready(within_seconds=START_SECONDS)
        events = [(SUBSCRIPTIONS[number % 20], b"event %d" % number) for number in range(EVENTS)]
        producing = asyncio.create_task(found.produce(events))
        try:
            yield found, supervised, recorder
        finally:
            await producing
            if supervised.is_running:
                await supervised.terminate(60)


async def start(found: Cluster, folder: Path) -> Supervised:
    """Start `webhooks cluster` with two workers, and add both to *found*, each with its page."""
    port, log = free_ports(2), folder / "cluster.log"
    own = {"WEBHOOKS_WEB_PORT": str(port), "WEBHOOKS_DATA_DIR": str(folder / "data"), "WEBHOOKS_LOG_FORMAT": "json"}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *("cluster", "--workers", "2"),
            env=clean_environment({**found.environment, **own}),
            stdout=output,
            stderr=output,
        )
    workers = [Supervised(process, port + number, log) for number in range(2)]
    found.workers += workers
    return workers[0]


async def test_a_worker_killed_under_load_restarts_without_loss(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with loaded(kafka, unique_name("cluster"), tmp_path) as (found, supervised, recorder):
        await recorder.until_events(EVENTS // 6)
        killed = supervised.newest_pid("worker-2")
        os.kill(killed, signal.SIGKILL)

        await recorder.until_events(EVENTS, within_seconds=90)
        assert not recorder.out_of_order()
        await found.until_ready(within_seconds=START_SECONDS)
        assert supervised.newest_pid("worker-2") != killed
        (restarting,) = [entry for entry in supervised.entries() if entry["message"] == "worker.restarting"]
        assert (restarting["worker"], restarting["ended"], restarting["restart"]) == ("worker-2", "signal 9", 1)

        assert await supervised.terminate(60) == 0
        assert {"worker-1", "worker-2"} <= {str(entry.get("worker")) for entry in supervised.entries()}
        assert {path.name for path in (tmp_path / "data").iterdir()} == {"worker-1", "worker-2"}


@pytest.mark.parametrize("qos", ["at-least-once", "at-most-once"])
async def test_a_stop_of_all_workers_loses_and_repeats_nothing(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, qos: str
) -> None:
    async with loaded(kafka, unique_name("cluster"), tmp_path, qos) as (found, supervised, recorder):
        await recorder.until_events(EVENTS // 6)

        assert await supervised.terminate(60) == 0

        found.workers.clear()
        await start(found, tmp_path)
        await recorder.until_events(EVENTS, within_seconds=90)
        assert await found.workers[0].terminate(60) == 0
        assert len(recorder.calls) == EVENTS
        assert not recorder.out_of_order()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has ended")
async def test_workers_stop_when_their_supervisor_is_killed(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with cluster(kafka, unique_name("cluster"), tmp_path) as found:
        supervised = await start(found, tmp_path)
        await found.until_ready(within_seconds=START_SECONDS)

        await supervised.kill()

        async def are_gone() -> bool:
            return not any([await worker.text("/health/live") for worker in found.workers])

        try:
            await eventually(are_gone, within_seconds=60, says=supervised.output)
        finally:
            for name in ("worker-1", "worker-2"):
                with suppress(ProcessLookupError):
                    os.kill(supervised.newest_pid(name), signal.SIGKILL)
