"""The source topic has changed since offsets were committed: it was recreated, or records were deleted."""

import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Status
from pipeline.kafka.source_log import SourceLog
from pipeline.subscriptions.edits import RESUME
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Recorder, accept, answer
from tests.support.waiting import eventually
from tests.support.worker import Worker

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def administrated(broker: TestBroker) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**broker.connection.client_options())
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def make_again(found: Cluster) -> None:
    """Delete the source topic and create it."""
    async with administrated(found.broker) as admin:
        await admin.delete_topics([found.topic])

        async def is_gone() -> bool:
            return found.topic not in await admin.list_topics()

        await eventually(is_gone, within_seconds=20, says=lambda: f"{found.topic} is still there")
    await found.broker.create_topic(found.topic, found.partitions)


async def delete_records(found: Cluster, before: int) -> None:
    """Delete records of partition 0 like retention."""
    async with administrated(found.broker) as admin:
        await admin.delete_records({TopicPartition(found.topic, 0): RecordsToDelete(before_offset=before)})


def begin_at(found: Cluster, reset: str) -> None:
    """Set where workers begin while the group has no offset."""
    path = Path(found.environment["WEBHOOKS_API"])
    path.write_text(path.read_text().replace('"autoOffsetReset": "earliest"', f'"autoOffsetReset": "{reset}"'))


async def commit(found: Cluster, offset: int) -> None:
    """Commit an offset like `kafka-consumer-groups --reset-offsets`. No worker may be running."""
    consumer = AIOKafkaConsumer(
        group_id=found.app, enable_auto_commit=False, **found.broker.connection.client_options()
    )
    try:
        await consumer.start()
        consumer.assign([TopicPartition(found.topic, 0)])
        await consumer.commit({TopicPartition(found.topic, 0): offset})
    finally:
        await consumer.stop()


async def until_committed(found: Cluster, offset: int) -> None:
    state: list[int | None] = []

    async def is_committed() -> bool:
        state[:] = [(await found.broker.committed(found.app, found.topic)).get(0)]
        return state == [offset]

    await eventually(is_committed, within_seconds=30, says=lambda: f"{state} is committed, not {offset}")


async def counted(worker: Worker, series: str) -> int:
    """The value of a series of the metrics."""
    found = re.search(rf"^{re.escape(series)} (\S+)", await worker.text("/metrics"), re.MULTILINE)
    assert found, series
    return int(float(found[1]))


async def warnings(worker: Worker) -> list[str]:
    health = await worker.get("/health/ready")
    return list(health["warnings"])


def events(count: int, what: str) -> list[tuple[str, bytes]]:
    return [("sub-1", b"%s %d" % (what.encode(), number)) for number in range(count)]


def bodies(recorder: Recorder) -> list[str]:
    return [call.body.decode() for call in recorder.calls]


@pytest.fixture
async def found(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> AsyncIterator[Cluster]:
    """One partition and one subscription. No worker is started yet."""
    async with cluster(kafka, unique_name("breaks"), tmp_path, partitions=1) as each:
        await each.subscribe(recorder, "sub-1")
        yield each


@pytest.mark.parametrize("more", [20, 70])
async def test_a_topic_recreated_while_a_worker_runs_is_read_whole(
    found: Cluster, recorder: Recorder, more: int
) -> None:
    worker = await found.start_worker()
    await found.until_ready()
    await found.produce(events(50, "old"), partition=0)
    await until_committed(found, 50)
    await make_again(found)
    await found.produce(events(more, "new"), partition=0)
    await recorder.until(lambda: len(set(bodies(recorder))) == 50 + more)
    await until_committed(found, more)
    assert set(bodies(recorder)[50:]) == {f"new {number}" for number in range(more)}
    assert await counted(worker, 'webhooks_log_breaks_total{kind="recreated"}') >= 1
    assert (
        f"partition 0 of {found.topic}: the source topic was deleted and created again" in (await warnings(worker))[0]
    )
    assert "log.broken" in worker.output()


async def test_a_topic_recreated_while_no_worker_runs_is_read_whole(found: Cluster, recorder: Recorder) -> None:
    await found.subscribe(recorder, "failing")
    recorder.behaviours["failing"] = answer(400)
    first = await found.start_worker()
    await found.until_ready()
    await found.produce([*events(10, "old"), ("failing", b"old")], partition=0)
    await found.until_row("failing", status=Status.FAILURE, next=10)
    await until_committed(found, 11)
    assert await first.terminate() == 0

    await make_again(found)
    await found.produce([("failing", b"new"), *events(20, "new")], partition=0)
    recorder.behaviours["failing"] = accept
    await found.start_worker()
    await found.until_row("failing", status=Status.FAILURE, next=0)
    await recorder.until(lambda: len(recorder.of("sub-1")) == 30)
    await found.store.edit("failing", RESUME)
    await recorder.until(lambda: [call.body for call in recorder.of("failing")] == [b"old", b"new"])
    assert not [call for call in recorder.of("sub-1")[10:] if call.body.startswith(b"old")]


@pytest.mark.parametrize("reset", ["earliest", "latest"])
async def test_a_recreated_topic_does_not_count_as_a_first_start(
    found: Cluster, recorder: Recorder, reset: str
) -> None:
    begin_at(found, reset)
    first = await found.start_worker()
    await found.until_ready()
    await found.produce(events(10, "old"), partition=0)
    await until_committed(found, 10)
    assert await first.terminate() == 0

    await make_again(found)
    await found.produce(events(20, "new"), partition=0)
    second = await found.start_worker()
    await found.until_ready(second)
    await until_committed(found, 20)
    assert bodies(recorder)[10:] == [f"new {number}" for number in range(20)]
    assert await counted(second, 'webhooks_log_breaks_total{kind="recreated"}') == 1
    assert (
        f"partition 0 of {found.topic}: the source topic was deleted and created again" in (await warnings(second))[0]
    )
    assert "log.broken" in second.output()


async def test_an_offset_beyond_the_end_of_the_log_becomes_the_end(found: Cluster, recorder: Recorder) -> None:
    await found.produce(events(80, "old"), partition=0)
    await commit(found, 1000)
    worker = await found.start_worker()
    await found.until_ready()
    await until_committed(found, 80)
    await found.produce(events(10, "new"), partition=0)
    await recorder.until_events(10)
    await until_committed(found, 90)
    assert set(bodies(recorder)) == {f"new {number}" for number in range(10)}
    assert await counted(worker, 'webhooks_log_breaks_total{kind="truncated"}') == 1
    [warning, *_] = await warnings(worker)
    assert f"partition 0 of {found.topic}: a position was beyond the end of the log" in warning


async def test_events_removed_before_a_start_are_counted(found: Cluster, recorder: Recorder) -> None:
    await found.produce(events(50, "old"), partition=0)
    await commit(found, 10)
    await delete_records(found, 30)
    worker = await found.start_worker()
    await found.until_ready()
    await recorder.until_events(20)
    await until_committed(found, 50)
    assert bodies(recorder) == [f"old {number}" for number in range(30, 50)]
    assert await counted(worker, 'webhooks_dropped_total{rule="retention"}') == 20
    assert await counted(worker, 'webhooks_log_breaks_total{kind="retention"}') == 1
    assert (
        f"partition 0 of {found.topic}: events were deleted before they were delivered" in (await warnings(worker))[0]
    )


async def test_events_removed_before_they_are_read_are_counted(found: Cluster, recorder: Recorder) -> None:
    worker = await found.start_worker()
    await found.until_ready()
    await found.produce(events(5, "old"), partition=0)
    await until_committed(found, 5)
    worker.send_signal(signal.SIGSTOP)
    try:
        await found.produce(events(1, "fetched already"), partition=0)
        await found.produce(events(49, "new"), partition=0)
        await delete_records(found, 30)
    finally:
        worker.send_signal(signal.SIGCONT)
    await until_committed(found, 55)
    delivered, left = bodies(recorder)[5:], [f"new {number}" for number in range(24, 49)]
    # A worker that is stopped between two fetches gets its first event only after the deletion.
    assert delivered in (left, ["fetched already 0", *left])
    assert await counted(worker, 'webhooks_dropped_total{rule="retention"}') == 50 - len(delivered)


async def test_a_worker_s_last_commit_leaves_out_a_deleted_topic(found: Cluster, recorder: Recorder) -> None:
    """After such a commit, the next worker would mistake the new topic for the old one, and continue at its end."""
    worker = await found.start_worker(program="nameless_worker.py")
    await found.until_ready()
    await found.produce(events(5, "old"), partition=0)
    await until_committed(found, 5)
    worker.send_signal(signal.SIGSTOP)
    try:
        await make_again(found)
        await found.produce(events(3, "new"), partition=0)
        worker.send_signal(signal.SIGTERM)
    finally:
        worker.send_signal(signal.SIGCONT)
    assert await worker.terminate() == 0
    await found.start_worker(program="nameless_worker.py")
    # Without topic ids, an event of the new topic has the webhook-id of an event of the former topic.
    await recorder.until(lambda: len(recorder.calls) >= 8)
    assert bodies(recorder)[5:] == ["new 0", "new 1", "new 2"]


async def test_a_leaderless_partition_delays_no_other_partition(
    kafka: TestBroker, unique_name: Callable[[str], str]
) -> None:
    """A partition that does not exist stands in for one without a leader, because the only broker must keep running."""
    topic = await kafka.create_topic(unique_name("led"), 1)
    await kafka.produce(topic, (b"sub-1", b"a"), (b"sub-1", b"b"))
    log = SourceLog(kafka.connection, topic)
    try:
        found = await log.look([0, 1])
    finally:
        await log.close()
    assert found[0].topic_id is not None
    assert found == {0: LogBounds(0, 2, found[0].topic_id), 1: LogBounds.unseen(found[0].topic_id)}
