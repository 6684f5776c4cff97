"""Transactions in the topics that a worker reads: aborted records are never delivered."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from pipeline.kafka.letters import newest, opened_letters
from pipeline.kafka.redrive import ALL, opened_redrive
from pipeline.kafka.topics import Source
from pipeline.runtime.initial_offsets import fix_beginning
from pipeline.subscriptions.edits import going_on_from
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Recorder
from tests.support.waiting import eventually
from tests.support.worker import Worker

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def transactional(broker: TestBroker, name: str) -> AsyncIterator[AIOKafkaProducer]:
    """A started transactional producer."""
    producer = AIOKafkaProducer(transactional_id=name, **broker.connection.client_options())
    try:
        await producer.start()
        yield producer
    finally:
        await producer.stop()


async def put(producer: AIOKafkaProducer, topic: str, *bodies: bytes, key: bytes = b"sub-1") -> None:
    """Append events to partition 0 in the producer's transaction."""
    for body in bodies:
        await producer.send_and_wait(topic, body, key, partition=0)


async def ended(broker: TestBroker, topic: str, ending: Awaitable[None]) -> None:
    """Await *ending*, the commit or abort of a transaction, until its marker is in partition 0.

    The coordinator answers before it writes the marker. A record that is produced in between comes first.
    """
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(**broker.connection.client_options()) as consumer:
        before = (await consumer.end_offsets([partition]))[partition]
        await ending

        async def is_marked() -> bool:
            return bool((await consumer.end_offsets([partition]))[partition] > before)

        await eventually(
            is_marked, within_seconds=20, says=lambda: f"{topic} has no transaction marker at offset {before}"
        )


async def metric(worker: Worker, name: str) -> int | None:
    """A metric of partition 0; None while the worker does not answer."""
    found = re.search(rf'^{name}\{{.*partition="0".*\}} (\S+)', await worker.text("/metrics"), re.MULTILINE)
    return None if found is None else int(float(found[1]))


async def until_there_is_no_lag(found: Cluster, worker: Worker, end: int) -> None:
    """Return when the group has committed *end*, and the worker's metrics show it as the end."""
    state: list[object] = []

    async def is_there() -> bool:
        state[:] = [
            (await found.broker.committed(found.app, found.topic)).get(0),
            await metric(worker, "webhooks_committed_offset"),
            await metric(worker, "webhooks_end_offset"),
        ]
        return state == [end] * 3

    await eventually(is_there, within_seconds=20, says=lambda: f"{state} and not {end}")


async def test_aborted_events_leave_no_lag(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    name = unique_name("gaps")
    async with cluster(kafka, name, tmp_path, partitions=1) as found, transactional(kafka, f"{name}-1") as aborts:
        await found.subscribe(recorder, "sub-1")
        await found.start_worker()
        await found.until_ready()
        await found.produce([("sub-1", b"only")], partition=0)
        await recorder.until(lambda: len(recorder.calls) == 1)
        for end in (3, 5):  # each of these ends follows an aborted event and its marker
            await aborts.begin_transaction()
            await put(aborts, found.topic, b"aborted")
            await aborts.abort_transaction()
            await until_committed(found, end)


async def until_committed(found: Cluster, end: int) -> None:
    """Return when the group has committed *end*."""

    async def is_committed() -> bool:
        return (await found.broker.committed(found.app, found.topic)).get(0) == end

    await eventually(is_committed, within_seconds=20, says=lambda: f"{end} is not committed")


async def test_only_a_committed_transaction_is_delivered(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    name = unique_name("mixed")
    async with (
        cluster(kafka, name, tmp_path, partitions=1) as found,
        transactional(kafka, f"{name}-1") as commits,
        transactional(kafka, f"{name}-2") as aborts,
        transactional(kafka, f"{name}-3") as stays,
    ):
        await found.subscribe(recorder, "sub-1")
        worker = await found.start_worker()
        await found.until_ready()
        for producer in (commits, aborts):
            await producer.begin_transaction()
        for number in range(3):
            await put(commits, found.topic, b"committed %d" % number)
            await put(aborts, found.topic, b"aborted %d" % number)
        await ended(kafka, found.topic, commits.commit_transaction())
        await ended(kafka, found.topic, aborts.abort_transaction())
        await stays.begin_transaction()
        await put(stays, found.topic, b"open")
        await found.produce([("sub-1", b"after it")], partition=0)

        # Six events and two markers. Records after the open transaction wait for its end.
        await until_there_is_no_lag(found, worker, 8)
        assert [call.body for call in recorder.calls] == [b"committed 0", b"committed 1", b"committed 2"]
        await found.store.edit("sub-1", going_on_from({"partition": 0, "offset": 0}))
        await recorder.until(lambda: len(recorder.calls) == 6)

        await stays.abort_transaction()
        await recorder.until(lambda: len(recorder.calls) == 7)
        await until_there_is_no_lag(found, worker, 11)
        assert [call.body for call in recorder.calls[3:]] == [
            b"committed 0",
            b"committed 1",
            b"committed 2",
            b"after it",
        ], "the log reader reads it, too"


async def test_read_uncommitted_delivers_records_at_once(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    name = unique_name("hasty")
    async with cluster(kafka, name, tmp_path, partitions=1) as found, transactional(kafka, f"{name}-1") as stays:
        path = tmp_path / "api.json"
        document = json.loads(path.read_text())
        document["endpointGroups"][0]["endpoints"][0]["sharedConfigurationOverride"]["consumer"]["isolationLevel"] = (
            "read_uncommitted"
        )
        path.write_text(json.dumps(document))
        await found.subscribe(recorder, "sub-1")
        await found.start_worker()
        await found.until_ready()
        await stays.begin_transaction()
        await put(stays, found.topic, b"open")
        await recorder.until(lambda: len(recorder.calls) == 1)
        await found.store.edit("sub-1", going_on_from({"partition": 0, "offset": 0}))
        await recorder.until(lambda: len(recorder.calls) == 2)
        await stays.abort_transaction()


async def test_a_dead_letter_of_an_aborted_transaction_is_ignored(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    name = unique_name("letters")
    async with (
        cluster(kafka, name, tmp_path, partitions=1, dlq=True) as found,
        transactional(kafka, f"{name}-1") as aborts,
    ):
        dlq = found.definition.dlq
        assert dlq is not None
        await aborts.begin_transaction()
        await put(aborts, dlq.topic, b"aborted")
        await ended(kafka, dlq.topic, aborts.abort_transaction())
        await kafka.produce(dlq.topic, (b"sub-1", b"a letter"))

        async with opened_letters(dlq) as reader:
            assert [letter.place for letter in await newest(reader, 10)] == [f"{dlq.topic}-0-2"]
        async with opened_redrive(found.definition.source, dlq, name, ALL, limit=None, dry_run=False) as redrive:
            assert [letter.letter.place async for letter in redrive.run()] == [f"{dlq.topic}-0-2"]
        assert [record.value for record in await kafka.read(found.topic)] == [b"a letter"]


async def test_a_subscription_of_an_aborted_transaction_is_ignored(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    name = unique_name("registry")
    async with cluster(kafka, name, tmp_path, partitions=1) as found, transactional(kafka, f"{name}-1") as aborts:
        await aborts.begin_transaction()
        await put(aborts, f"{name}.subscriptions", b"{}", key=b"aborted")
        await ended(kafka, f"{name}.subscriptions", aborts.abort_transaction())
        await found.subscribe(recorder, "sub-1")
        assert [document["id"] for document in await found.store.list()] == ["sub-1"]


async def test_latest_delivers_transactions_open_at_the_first_start(
    kafka: TestBroker, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("latest")
    topic = await kafka.create_topic(f"{name}-events", 1)
    async with transactional(kafka, f"{name}-1") as stays:
        await kafka.produce(topic, (b"sub-1", b"before"))
        await stays.begin_transaction()
        await put(stays, topic, b"open")
        await fix_beginning(Source(kafka.connection, topic), name, 1)
        await stays.commit_transaction()
    assert await kafka.committed(name, topic) == {0: 1}
