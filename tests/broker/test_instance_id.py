"""Workers with WEBHOOKS_INSTANCE_ID: a restart moves no partition."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import recording
from tests.support.worker import Worker

SUBSCRIPTIONS = [f"sub-{number}" for number in range(20)]
EVENTS = 6000
START_SECONDS = 90.0

pytestmark = pytest.mark.timeout(400)


async def rebalances(worker: Worker) -> int:
    """The number of rebalances of a worker."""
    found = re.search(r"^webhooks_rebalances_total (\d+)", await worker.text("/metrics"), re.MULTILINE)
    assert found is not None
    return int(found[1])


async def start(found: Cluster, number: int) -> Worker:
    # The session timeout must be longer than a restart on a busy machine.
    return await found.start_worker(instance_id=f"worker-{number}", session_seconds="40")


@pytest.mark.parametrize("qos", ["at-least-once", "at-most-once"])
async def test_a_rolling_restart_moves_no_partition(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, qos: str
) -> None:
    async with recording() as recorder, cluster(kafka, unique_name("static"), tmp_path, partitions=8, qos=qos) as found:
        await found.subscribe(recorder, *SUBSCRIPTIONS)
        workers = [await start(found, 1), await start(found, 2)]
        await found.until_ready(within_seconds=START_SECONDS)
        before = [await worker.partitions() for worker in workers]
        events = [(SUBSCRIPTIONS[number % 20], b"event %d" % number) for number in range(EVENTS)]
        producing = asyncio.create_task(found.produce(events))
        await recorder.until_events(EVENTS // 10)

        for number in (1, 2):
            other = workers[2 - number]
            counted = await rebalances(other)
            assert await workers[number - 1].terminate() == 0
            workers[number - 1] = await start(found, number)
            await found.until_ready(*workers, within_seconds=START_SECONDS)
            assert await rebalances(other) == counted

        assert [await worker.partitions() for worker in workers] == before
        await producing
        await recorder.until_events(EVENTS, within_seconds=90)
        assert len(recorder.calls) == EVENTS
        assert not recorder.out_of_order()
