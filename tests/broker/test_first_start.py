"""Where a group begins is decided once, and never changed."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Literal

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError

from pipeline.core.errors import BrokerError
from pipeline.kafka.admin import administration
from pipeline.kafka.committed import NONE_HAS_BEGUN
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.cursors import KafkaRows
from pipeline.kafka.row_keys import SOURCE_KEY
from pipeline.kafka.source_log import SourceLog
from pipeline.kafka.topics import Source, cursors_topic
from pipeline.runtime.initial_offsets import fix_beginning
from tests.support.brokers import TestBroker
from tests.support.failing_broker import Request


@pytest.fixture
async def source(kafka: TestBroker, unique_name: Callable[[str], str]) -> Source:
    """Two partitions, three events in the first one."""
    topic = await kafka.create_topic(unique_name("events"), 2)
    await kafka.produce(topic, *[(b"s", b"")] * 3, partition=0)
    return Source(kafka.connection, topic, "latest")


@pytest.fixture
async def member(kafka: TestBroker, source: Source) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of the group `<topic>-group` that has joined it and committed nothing."""
    consumer = AIOKafkaConsumer(
        source.topic, group_id=f"{source.topic}-group", enable_auto_commit=False, **kafka.connection.client_options()
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def test_with_latest_the_end_offsets_are_committed_only_once(kafka: TestBroker, source: Source) -> None:
    group = f"{source.topic}-group"
    await fix_beginning(source, group, 2)
    assert await kafka.committed(group, source.topic) == {0: 3, 1: 0}
    assert {each.metadata for each in (await kafka.commits(group, source.topic)).values()} == {NONE_HAS_BEGUN}

    await kafka.produce(source.topic, (b"s", b""), partition=1)
    await kafka.add_partitions(source.topic, 3)
    await fix_beginning(source, group, 3)
    assert await kafka.committed(group, source.topic) == {0: 3, 1: 0}, (
        "a new partition has to be read from its beginning"
    )


@pytest.mark.parametrize("reset", ["latest", "earliest"])
async def test_no_event_of_a_recreated_topic_is_skipped_at_a_start(
    kafka: TestBroker, source: Source, reset: Literal["latest", "earliest"]
) -> None:
    group = f"{source.topic}-group"
    await note(kafka, group, "AAAAAAAAAAAAAAAAAAAAAA")
    found = await fix_beginning(replace(source, auto_offset_reset=reset), group, 2)
    assert found == {0: "AAAAAAAAAAAAAAAAAAAAAA"}
    assert await kafka.committed(group, source.topic) == {}


async def test_a_group_that_lost_its_offsets_continues_at_the_end(
    kafka: TestBroker, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    group = f"{source.topic}-group"
    log = SourceLog(kafka.connection, source.topic)
    bounds = await log.look([0])
    await log.close()
    await note(kafka, group, bounds[0].topic_id)
    await fix_beginning(source, group, 2)
    assert await kafka.committed(group, source.topic) == {0: 3, 1: 0}
    assert f"the offsets of the group {group} were deleted or have expired" in caplog.text
    assert {each.metadata for each in (await kafka.commits(group, source.topic)).values()} == {""}, (
        "otherwise all subscriptions would begin at their starts again"
    )


async def note(kafka: TestBroker, group: str, topic_id: str | None) -> None:
    """Open partition 0 like its owner."""
    topic = await kafka.create_topic(cursors_topic(group), 2, {"cleanup.policy": "compact"})
    rows = KafkaRows(kafka.connection, topic, 0, on_written=lambda _: None)
    try:
        await rows.open()
        if topic_id is not None:
            await rows.put_topic_id(SOURCE_KEY, topic_id)
    finally:
        await rows.close()


async def test_with_earliest_no_offset_is_committed_at_the_start(kafka: TestBroker, source: Source) -> None:
    await fix_beginning(replace(source, auto_offset_reset="earliest"), "a-group", 2)
    assert await kafka.committed("a-group", source.topic) == {}


@pytest.mark.usefixtures("member")
async def test_no_offset_is_moved_once_a_worker_has_joined(kafka: TestBroker, source: Source) -> None:
    group = f"{source.topic}-group"
    await fix_beginning(source, group, 2)
    assert await kafka.committed(group, source.topic) == {}


async def test_an_unreachable_cluster_is_named_in_the_error() -> None:
    nowhere = Source(KafkaConnection(("127.0.0.1:1",)), "events", "latest")
    with pytest.raises(BrokerError, match=r"^Kafka at 127.0.0.1:1 can't be used: "):
        await fix_beginning(nowhere, "group", 1)


async def test_a_new_cluster_has_time_to_find_its_coordinator(
    embedded: TestBroker, unique_name: Callable[[str], str]
) -> None:
    """Kafka creates its topic for group offsets when the first client looks for a coordinator. Three workers may ask
    at the same time."""
    assert embedded.mock is not None
    topic = await embedded.create_topic(unique_name("events"))
    embedded.mock.fail_next(Request.FIND_COORDINATOR, [GroupCoordinatorNotAvailableError.errno] * 3)

    async with administration(embedded.connection) as admin:
        assert await admin.list_consumer_group_offsets("new", partitions=[TopicPartition(topic, 0)])
