"""Tests the brokers that tests use: common behaviour of the embedded broker and a real Kafka, then differences."""

import asyncio
import subprocess
import sys
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError

from pipeline.cli.dev.embedded_broker import EmbeddedBroker
from pipeline.core.errors import BrokerError
from tests.support.brokers import TestBroker
from tests.support.containers import docker_expected, kafka_container
from tests.support.failing_broker import Request
from tests.support.waiting import eventually

Name = Callable[[str], str]


async def test_a_topic_is_created_with_the_given_partitions(broker: TestBroker, unique_name: Name) -> None:
    topic = await broker.create_topic(unique_name("events"), partitions=3)

    async with broker.producer() as producer:
        assert await producer.partitions_for(topic) == {0, 1, 2}


async def test_a_topic_is_created_once(broker: TestBroker, unique_name: Name) -> None:
    topic = await broker.create_topic(unique_name("events"))

    with pytest.raises((BrokerError, TopicAlreadyExistsError), match=topic):
        await broker.create_topic(topic)


async def test_what_is_produced_is_read_back(broker: TestBroker, unique_name: Name) -> None:
    topic = await broker.create_topic(unique_name("events"), partitions=2)

    await broker.produce(topic, (b"a", b"1"), (b"a", None), partition=1)
    await broker.produce(topic, (None, b"2"), partition=0)

    assert [(r.partition, r.offset, r.key, r.value) for r in await broker.read(topic)] == [
        (0, 0, None, b"2"),
        (1, 0, b"a", b"1"),
        (1, 1, b"a", None),
    ]


async def test_an_empty_topic_reads_as_empty(broker: TestBroker, unique_name: Name) -> None:
    topic = await broker.create_topic(unique_name("events"), partitions=2)

    assert await broker.read(topic) == []


async def test_waiting_ends_when_the_records_are_there(broker: TestBroker, unique_name: Name) -> None:
    topic = await broker.create_topic(unique_name("events"))

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(broker.wait_for(topic, 2))
        group.create_task(broker.produce(topic, (b"k", b"1"), (b"k", b"2")))

    assert [record.value for record in waiting.result()] == [b"1", b"2"]


async def test_a_wait_that_times_out_says_what_was_missing(broker: TestBroker, unique_name: Name) -> None:
    topic = await broker.create_topic(unique_name("events"))
    await broker.produce(topic, (b"k", b"1"))

    with pytest.raises(TimeoutError, match="had 1 of 2 records"):
        await broker.wait_for(topic, 2, within_seconds=1.0)


async def test_committed_offsets_are_visible_to_other_clients(broker: TestBroker, unique_name: Name) -> None:
    topic, group = await broker.create_topic(unique_name("events"), partitions=2), unique_name("group")
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 1)])
        await consumer.commit({TopicPartition(topic, 1): 7})
    finally:
        await consumer.stop()

    assert await broker.committed(group, topic) == {1: 7}


async def test_a_group_that_committed_nothing_has_no_offsets(broker: TestBroker, unique_name: Name) -> None:
    topic = await broker.create_topic(unique_name("events"))

    assert await broker.committed(unique_name("group"), topic) == {}


async def test_aborted_records_are_left_out_of_the_committed_ones(kafka: TestBroker, unique_name: Name) -> None:
    """Also shows that the broker supports transactions, which a single broker does only with certain settings."""
    topic = await kafka.create_topic(unique_name("rows"), config={"cleanup.policy": "compact"})
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=unique_name("writer"))
    await producer.start()
    try:
        async with producer.transaction():
            await producer.send(topic, b"kept", key=b"k")
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted", key=b"k")
        await producer.abort_transaction()
    finally:
        await producer.stop()

    await _until_committed(kafka, topic, [b"kept"])
    assert [record.value for record in await kafka.read(topic)] == [b"kept", b"aborted"]


async def test_a_request_fails_if_the_test_asks_for_it(embedded: TestBroker, unique_name: Name) -> None:
    assert embedded.mock is not None
    topic = await embedded.create_topic(unique_name("events"))
    message_too_large = 10

    async with embedded.producer() as producer:
        embedded.mock.fail_next(Request.PRODUCE, [message_too_large])
        with pytest.raises(KafkaError, match="MessageSizeTooLarge"):
            await producer.send_and_wait(topic, b"refused")
        await producer.send_and_wait(topic, b"taken")

    assert [record.value for record in await embedded.read(topic)] == [b"taken"]


async def test_a_delayed_broker_answers_late(embedded: TestBroker, unique_name: Name) -> None:
    assert embedded.mock is not None
    topic = await embedded.create_topic(unique_name("events"))
    clock = asyncio.get_running_loop().time

    async with embedded.producer() as producer:
        await producer.send_and_wait(topic, b"at once")
        embedded.mock.delay(0.2)
        began = clock()
        await producer.send_and_wait(topic, b"late")
        assert clock() - began >= 0.2
        embedded.mock.delay(0)


async def test_a_broker_that_was_down_keeps_its_data(embedded: TestBroker, unique_name: Name) -> None:
    assert embedded.mock is not None
    topic = await embedded.create_topic(unique_name("events"))
    await embedded.produce(topic, (b"k", b"before"))

    embedded.mock.down()
    with pytest.raises(KafkaConnectionError):
        await embedded.read(topic)
    embedded.mock.up()

    assert [record.value for record in await embedded.read(topic)] == [b"before"]


def test_bad_input_is_refused_with_an_explanation(embedded: TestBroker) -> None:
    assert embedded.mock is not None
    with pytest.raises(BrokerError, match="topic x: partitions must be at least 1, not 0"):
        embedded.mock.create_topic("x", 0)
    with pytest.raises(BrokerError, match="broker 7: Broker: Broker not available"):
        embedded.mock.down(7)
    with pytest.raises(BrokerError, match="at least 1 broker, not 0"):
        EmbeddedBroker(brokers=0)


def test_a_closed_broker_says_so() -> None:
    broker = EmbeddedBroker()
    broker.close()
    broker.close()

    assert repr(broker) == "<EmbeddedBroker closed>"
    with pytest.raises(BrokerError, match="the embedded broker is closed"):
        broker.create_topic("x", 1)


def test_without_confluent_kafka_an_error_names_the_extra() -> None:
    """Runs in a separate interpreter in which the import fails, as without the package."""
    program = """
import sys
sys.modules["confluent_kafka"] = None
from pipeline.cli.dev.embedded_broker import EmbeddedBroker
from pipeline.core.errors import BrokerError
try:
    EmbeddedBroker()
except BrokerError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "webhook-pipeline[dev-broker]" in done.stdout


def test_the_embedded_broker_starts_silently() -> None:
    """librdkafka would warn on stderr that its client has no bootstrap server."""
    program = "from pipeline.cli.dev.embedded_broker import EmbeddedBroker\nwith EmbeddedBroker(): pass"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.docker
async def test_testcontainers_starts_a_kafka_with_transactions(unique_name: Name) -> None:
    """Tests the case of a machine that has only a Docker engine, even if WEBHOOKS_TEST_KAFKA is set."""
    with kafka_container(expected=docker_expected()) as kafka:
        topic = await kafka.create_topic(unique_name("events"))
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=unique_name("writer"))
        await producer.start()
        try:
            async with producer.transaction():
                await producer.send(topic, b"1")
        finally:
            await producer.stop()

        await _until_committed(kafka, topic, [b"1"])


async def _until_committed(broker: TestBroker, topic: str, expected: list[bytes]) -> None:
    """The marker of a transaction is written to a partition a moment after the producer's commit has returned."""
    found: list[bytes | None] = []

    async def is_read() -> bool:
        found[:] = [record.value for record in await broker.read(topic, committed_only=True)]
        return found == expected

    await eventually(is_read, within_seconds=20, says=lambda: f"{topic} has {found}, not {expected}")
