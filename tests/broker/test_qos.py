"""The table of levels in the README, row by row: two workers, 20 subscriptions, 8 partitions, and faults."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.kafka.topics import cursors_topic
from pipeline.subscriptions.edits import PAUSE, RESUME
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Recorder, recording
from tests.support.waiting import eventually

SUBSCRIPTIONS = [f"sub-{number}" for number in range(20)]
PARTITIONS = 8
EVENTS = 6000

pytestmark = pytest.mark.timeout(180)


@asynccontextmanager
async def loaded(
    kafka: TestBroker, name: str, folder: Path, qos: str, *, workers: int = 2, claim_events: int = 1
) -> AsyncIterator[tuple[Cluster, Recorder]]:
    """Workers that deliver a load while it is produced."""
    settings = {"CLAIM_EVENTS": str(claim_events)}
    async with (
        recording() as recorder,
        cluster(kafka, name, folder, partitions=PARTITIONS, qos=qos, settings=settings) as found,
    ):
        await found.subscribe(recorder, *SUBSCRIPTIONS)
        for _ in range(workers):
            await found.start_worker()
        await found.until_ready()
        producing = asyncio.create_task(found.produce(load()))
        try:
            yield found, recorder
        finally:
            await producing


def load() -> list[tuple[str, bytes]]:
    """Events of all subscriptions in turn."""
    return [(SUBSCRIPTIONS[number % 20], b"event %d" % number) for number in range(EVENTS)]


async def settled(found: Cluster) -> None:
    """Return when nothing is under way: the group has committed every end, and no lane has waiting events."""
    ends = {record.partition: record.offset + 1 for record in await found.broker.read(found.topic)}
    state: dict[str, object] = {}

    async def is_settled() -> bool:
        state["committed"] = await found.broker.committed(found.app, found.topic)
        lanes = [lane for worker in found.workers if worker.is_running for lane in await worker.lanes()]
        state["busy"] = [lane for lane in lanes if lane["waitingAtMost"] or lane["queued"] or lane["inFlight"]]
        return state == {"committed": ends, "busy": []}

    await eventually(is_settled, within_seconds=60, says=lambda: f"{state} of {ends}")


async def comes_to_an_end_at_most_once(found: Cluster, recorder: Recorder, claim_events: int = 1) -> None:
    """Check that no event is repeated or misordered, and that each subscription has lost at most the claimed events."""
    await recorder.until_events(EVENTS - claim_events * len(SUBSCRIPTIONS), within_seconds=90)
    await settled(found)
    assert not recorder.repeated()
    assert not recorder.out_of_order()
    lost = {name: EVENTS // 20 - len(offsets) for name, offsets in recorder.first_arrivals().items()}
    assert all(count <= claim_events for count in lost.values()), lost


async def test_at_least_once_loses_nothing_and_keeps_order_over_kill_9(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with loaded(kafka, unique_name("kill"), tmp_path, "at-least-once") as (found, recorder):
        await recorder.until_events(EVENTS // 6)
        await found.workers[0].kill()
        await recorder.until_events(EVENTS, within_seconds=90)
        assert not recorder.out_of_order()


async def test_at_most_once_loses_at_most_one_per_subscription(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with loaded(kafka, unique_name("kill"), tmp_path, "at-most-once") as (found, recorder):
        await recorder.until_events(EVENTS // 6)
        await found.workers[0].kill()
        await comes_to_an_end_at_most_once(found, recorder)


async def test_at_most_once_with_ten_claims_loses_at_most_ten(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with loaded(kafka, unique_name("kill"), tmp_path, "at-most-once", claim_events=10) as (found, recorder):
        await recorder.until_events(EVENTS // 6)
        await found.workers[0].kill()
        await comes_to_an_end_at_most_once(found, recorder, 10)


async def test_a_worker_frozen_beyond_its_session_repeats_nothing(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with loaded(kafka, unique_name("frozen"), tmp_path, "at-most-once") as (found, recorder):
        await recorder.until_events(EVENTS // 6)
        found.workers[0].send_signal(signal.SIGSTOP)
        await found.until_ready(found.workers[1])
        found.workers[0].send_signal(signal.SIGCONT)
        await found.until_ready()
        await recorder.until_events(EVENTS - len(SUBSCRIPTIONS), within_seconds=90)
        await settled(found)
        assert not recorder.repeated()
        lost = {name: EVENTS // 20 - len(offsets) for name, offsets in recorder.first_arrivals().items()}
        assert all(count <= 1 for count in lost.values()), lost


async def fenced(found: Cluster) -> None:
    """Fence a worker without a new owner of its partitions."""
    for number in range(PARTITIONS):
        foreign = AIOKafkaProducer(
            transactional_id=f"{cursors_topic(found.app)}.{number}", **found.broker.connection.client_options()
        )
        await foreign.start()
        await foreign.stop()


async def opened_afresh(found: Cluster) -> None:
    """Return when the workers have rejoined the group and own all partitions. A worker that has ended is an error."""

    async def has_joined() -> bool:
        return any("rejoining the consumer group" in worker.output() for worker in found.workers)

    await eventually(has_joined, within_seconds=30, says=lambda: found.workers[0].output()[-3000:])
    await found.until_ready()


async def test_workers_fenced_by_accident_lose_nothing(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with loaded(kafka, unique_name("fenced"), tmp_path, "at-least-once") as (found, recorder):
        await recorder.until_events(EVENTS // 6)
        await fenced(found)
        for name in SUBSCRIPTIONS:
            await found.store.edit(name, PAUSE)  # workers then write rows, which Kafka refuses
        await opened_afresh(found)
        for name in SUBSCRIPTIONS:
            await found.store.edit(name, RESUME)
        await recorder.until_events(EVENTS, within_seconds=90)
        await settled(found)
        assert not recorder.out_of_order()


async def test_workers_fenced_by_accident_repeat_nothing(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with loaded(kafka, unique_name("fenced"), tmp_path, "at-most-once") as (found, recorder):
        await recorder.until_events(EVENTS // 6)
        await fenced(found)
        await opened_afresh(found)
        await comes_to_an_end_at_most_once(found, recorder)


@pytest.mark.parametrize(
    ("qos", "claim_events"), [("at-least-once", 1), ("at-most-once", 1), ("at-most-once", 10)], ids=str
)
async def test_a_rolling_restart_loses_and_repeats_nothing(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, qos: str, claim_events: int
) -> None:
    async with loaded(kafka, unique_name("rolling"), tmp_path, qos, claim_events=claim_events) as (found, recorder):
        first, second = found.workers
        await recorder.until_events(EVENTS // 8)
        assert await first.terminate() == 0
        third = await found.start_worker()
        await found.until_ready(second, third)
        await recorder.until_events(EVENTS // 4)
        assert await second.terminate() == 0
        await recorder.until_events(EVENTS, within_seconds=90)
        await settled(found)
        assert not recorder.repeated()
        assert not recorder.out_of_order()


@pytest.mark.parametrize("qos", ["at-least-once", "at-most-once"])
async def test_joining_and_leaving_workers_lose_and_repeat_nothing(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, qos: str
) -> None:
    async with loaded(kafka, unique_name("scale"), tmp_path, qos, workers=1) as (found, recorder):
        await recorder.until_events(EVENTS // 8)
        joined = [await found.start_worker(), await found.start_worker()]
        await found.until_ready()
        await recorder.until_events(EVENTS // 3)
        codes = await asyncio.gather(*(worker.terminate() for worker in joined))
        assert codes == [0, 0]
        await recorder.until_events(EVENTS, within_seconds=90)
        await settled(found)
        assert not recorder.repeated()
        assert not recorder.out_of_order()


async def test_auto_loses_nothing_on_a_clean_stop(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with loaded(kafka, unique_name("auto"), tmp_path, "auto") as (found, recorder):
        await recorder.until_events(EVENTS // 6)
        assert await found.workers[0].terminate() == 0
        await recorder.until_events(EVENTS, within_seconds=90)
