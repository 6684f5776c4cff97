"""Where subscriptions begin with `routing: match`: the offsets that the store resolves and writes."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import confluent_kafka
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from cryptography.fernet import Fernet

from pipeline.config.definition import Definition
from pipeline.core.errors import BrokerError, ConfigurationError
from pipeline.core.subscription import Routing, Subscription
from pipeline.kafka.log_positions import log_positions
from pipeline.kafka.topics import Source
from pipeline.subscriptions.edits import PAUSE, RESUME
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.store import SubscriptionStore
from tests.support.brokers import TestBroker

KEY = Fernet.generate_key().decode()


def document(name: str = "s", **more: Any) -> dict[str, Any]:
    return {"id": name, "configuration": {"callbackUrl": "https://example.com"}} | more


@dataclass
class Shop:
    """A source topic with its subscriptions."""

    broker: TestBroker
    source: str
    topic: str
    routing: Routing | None = Routing.MATCH

    @asynccontextmanager
    async def store(
        self, routing: Routing | None = Routing.MATCH, auto_offset_reset: Any = "latest"
    ) -> AsyncIterator[SubscriptionStore]:
        connection = self.broker.connection
        definition = Definition(
            "shop", Source(connection, self.source, auto_offset_reset=auto_offset_reset), stated_routing=routing
        )
        box = SecretBox([KEY])
        registry = Registry(connection, self.topic, box, definition)
        store = SubscriptionStore(registry, connection, self.topic, box, definition)
        await registry.start()
        await store.open()
        try:
            yield store
        finally:
            await store.close()
            await registry.stop()

    async def subscription(self, name: str = "s", routing: Routing = Routing.MATCH) -> Subscription:
        """The subscription in the form that a worker reads."""
        connection = self.broker.connection
        definition = Definition("shop", Source(connection, self.source), stated_routing=routing)
        registry = Registry(connection, self.topic, SecretBox([KEY]), definition)
        await registry.start()
        try:
            await registry.ready()
            found = registry.get(name)
        finally:
            await registry.stop()
        assert found is not None
        return found

    async def offsets(self, name: str = "s") -> list[int]:
        """The offset at which a subscription begins in each partition."""
        starts = (await self.subscription(name)).starts
        assert starts is not None
        return list(starts[self.source].offsets)

    async def write(self, partition: int, *times_ms: int) -> None:
        """Write an event for each time."""
        async with self.broker.producer() as producer:
            for time_ms in times_ms:
                await producer.send_and_wait(self.source, b"{}", partition=partition, timestamp_ms=time_ms)


async def _shop(broker: TestBroker, unique_name: Callable[[str], str], partitions: int) -> Shop:
    source = await broker.create_topic(unique_name("orders"), partitions)
    return Shop(broker, source, await broker.create_topic(f"{source}.subscriptions", 1, {"cleanup.policy": "compact"}))


@pytest.fixture
async def shop(broker: TestBroker, unique_name: Callable[[str], str]) -> Shop:
    return await _shop(broker, unique_name, 2)


@pytest.fixture
async def real_shop(kafka: TestBroker, unique_name: Callable[[str], str]) -> Shop:
    return await _shop(kafka, unique_name, 1)


@pytest.fixture
async def wide_shop(kafka: TestBroker, unique_name: Callable[[str], str]) -> Shop:
    """A shop on a real Kafka, because the embedded broker does not describe groups."""
    return await _shop(kafka, unique_name, 2)


async def test_startfrom_now_begins_after_all_existing_events(shop: Shop) -> None:
    await shop.write(0, 1000, 2000)
    async with shop.store() as store:
        await store.apply(document())
        await shop.write(0, 3000)
        await store.apply(document("later", startFrom="now"))
        assert (await store.get("s"))["startFrom"] == "now"
    assert (await shop.offsets(), await shop.offsets("later")) == ([2, 0], [3, 0])


async def test_startfrom_earliest_begins_with_the_first_event(shop: Shop) -> None:
    await shop.write(1, 1000, 2000)
    async with shop.store() as store:
        await store.apply(document(startFrom="earliest"))
    assert await shop.offsets() == [0, 0]


async def test_startfrom_a_time_begins_at_that_time_or_at_the_end(real_shop: Shop) -> None:
    await real_shop.broker.add_partitions(real_shop.source, 2)
    minute = int(time.time()) // 60 * 60_000 - 600_000
    await real_shop.write(0, minute, minute + 60_000, minute + 120_000)
    await real_shop.write(1, minute)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((minute + 60_000) / 1000))
    async with real_shop.store() as store:
        await store.apply(document(startFrom=at))
        assert (await store.get("s"))["startFrom"] == at
    assert await real_shop.offsets() == [1, 1]


async def test_startfrom_now_comes_after_events_of_open_transactions(real_shop: Shop) -> None:
    broker = real_shop.broker
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=real_shop.source)
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(real_shop.source, b"{}", partition=0)
        await real_shop.write(0, 1000)  # acknowledged before the subscription, but not readable yet
        async with real_shop.store() as store:
            await store.apply(document())
        await producer.commit_transaction()
    finally:
        await producer.stop()
    assert await real_shop.offsets() == [2]


async def test_a_new_subscription_starts_in_partitions_just_added_too(real_shop: Shop) -> None:
    await real_shop.write(0, 1000)
    async with real_shop.store() as store:
        await store.apply(document("before"))
        await real_shop.broker.add_partitions(real_shop.source, 3)
        await real_shop.write(2, 1000, 2000)
        await store.apply(document("after"))
    assert await real_shop.offsets("before") == [1]
    assert await real_shop.offsets("after") == [1, 0, 2]
    before = await real_shop.subscription("before")
    topic_id = (await log_positions(real_shop.broker.connection, real_shop.source)).topic_id
    assert topic_id is not None
    assert [before.start_in(real_shop.source, number, topic_id) for number in (0, 1, 2)] == [1, 0, 0]


async def test_a_recreated_topic_is_recognised_by_its_id(real_shop: Shop) -> None:
    await real_shop.write(0, 1000)
    async with real_shop.store() as store:
        await store.apply(document())
    found = await real_shop.subscription()
    assert found.start_in(real_shop.source, 0, "another-topic") == 0


async def test_an_edit_keeps_the_start_and_the_revision_of_creation(shop: Shop) -> None:
    async with shop.store() as store:
        await store.apply(document("other"))
        first = await store.apply(document())
        await shop.write(0, 1000)
        assert (await store.apply(document())).what == "unchanged"
        assert (await store.apply(document(startFrom="now"))).what == "unchanged"
        assert (await store.apply(await store.get("s"))).what == "unchanged"
        assert "createdRevision" not in await store.get("s")
        for change in (
            store.apply(document(qos="none")),
            store.edit("s", PAUSE),
            store.apply(await store.get("s") | {"start": {}, "createdRevision": 0, "qos": "auto"}),
            store.edit("s", RESUME),
        ):
            assert (await change).what == "updated"
            assert (await store.get("s"))["createdRevision"] == first.revision
        with pytest.raises(ConfigurationError, match=r"^startFrom: \"earliest\" is for a new subscription only"):
            await store.apply(document(startFrom="earliest"))
    found = await shop.subscription()
    assert (found.created, found.revision > first.revision) == (first.revision, True)
    assert await shop.offsets() == [0, 0]


async def test_a_recreated_subscription_gets_a_new_start(shop: Shop) -> None:
    async with shop.store() as store:
        await store.apply(document())
        await store.edit("s", PAUSE)
        await store.delete("s")
        await shop.write(0, 1000)
        again = await store.apply(document())
        assert again.what == "created"
    assert (await shop.subscription()).created == again.revision
    assert await shop.offsets() == [1, 0]


async def test_a_corrected_record_keeps_the_start_of_the_subscription(shop: Shop) -> None:
    async with shop.store() as store:
        first = await store.apply(document())
        await shop.write(0, 1000)
        start = (await store.get("s"))["start"]
        async with shop.broker.producer() as producer:
            broken = b'{"id": "s", "start": %s, "createdRevision": %d}'
            value = broken % (json.dumps(start).encode(), first.revision)
            await producer.send_and_wait(shop.topic, value, key=b"s", partition=0)
        assert (await shop.subscription()).problem
        assert (await store.apply(document())).what == "updated"
    assert (await shop.subscription()).created == first.revision
    assert await shop.offsets() == [0, 0]


async def test_with_key_no_start_is_stored(shop: Shop) -> None:
    async with shop.store(Routing.KEY) as store:
        await store.apply(document())
        await store.edit("s", PAUSE)
        shown = await store.get("s")
    assert not shown.keys() & {"start", "startFrom", "topics", "createdRevision"}


async def test_many_subscriptions_cost_one_request_for_offsets(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def counted(connection: Any, topic: str, *more: Any) -> Any:
        asked.append(topic)
        return await log_positions(connection, topic, *more)

    monkeypatch.setattr("pipeline.subscriptions.start_offsets.log_positions", counted)
    async with shop.store() as store:
        async for _ in store.apply_all(document(f"s-{number}") for number in range(600)):
            pass
    assert asked == [shop.source]


async def test_no_record_is_written_without_a_start(shop: Shop, unique_name: Callable[[str], str]) -> None:
    shop.source = unique_name("nowhere")
    async with shop.store() as store:
        with pytest.raises(BrokerError, match="does not exist"):
            await store.apply(document())
        assert await store.list() == []


@asynccontextmanager
async def member(shop: Shop, group: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of another system, which has joined its group."""
    consumer = AIOKafkaConsumer(
        shop.source, group_id=group, enable_auto_commit=False, **shop.broker.connection.client_options()
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def commit(shop: Shop, group: str, offsets: dict[int, int]) -> None:
    """Commit offsets like a group whose last member has left."""
    async with member(shop, group) as consumer:
        await consumer.commit({TopicPartition(shop.source, number): offset for number, offset in offsets.items()})


async def test_a_subscription_can_begin_at_the_offsets_of_a_group(
    wide_shop: Shop, unique_name: Callable[[str], str]
) -> None:
    group = unique_name("gravitee")
    await wide_shop.write(0, 1000, 2000, 3000)
    await wide_shop.write(1, 1000, 2000)
    await commit(wide_shop, group, {0: 1, 1: 2})
    async with wide_shop.store() as store:
        change = await store.apply(document(startFrom=f"group:{group}"))
        assert (await store.get("s"))["startFrom"] == f"group:{group}"
        await wide_shop.write(1, 3000)
        assert (await store.apply(document(startFrom=f"group:{group}"))).what == "unchanged"
    assert change.advisory is not None
    assert "committed nothing" not in change.advisory
    assert await wide_shop.offsets() == [1, 2]


@pytest.mark.parametrize(
    ("reset", "since", "offset"),
    [("earliest", None, 0), ("latest", "1970-01-01T00:00:02Z", 1), ("latest", "1970-01-01T00:00:09Z", 3)],
)
async def test_a_partition_without_a_commit_begins_as_the_group_would(
    wide_shop: Shop, unique_name: Callable[[str], str], reset: str, since: str | None, offset: int
) -> None:
    group = unique_name("gravitee")
    await wide_shop.write(0, 1000, 2000)
    await wide_shop.write(1, 1000, 2000, 3000)
    await commit(wide_shop, group, {0: 2})
    async with wide_shop.store(auto_offset_reset=reset) as store:
        change = await store.apply(document(startFrom=f"group:{group}", startingAt=since))
    assert await wide_shop.offsets() == [2, offset]
    assert change.advisory is not None
    begins = "first event since its startingAt" if since else "first event"
    assert change.advisory.endswith(
        f'the group "{group}" has committed nothing in {wide_shop.source} 1; it begins there with the {begins}'
    )


async def test_latest_without_a_commit_needs_the_time_of_creation(
    wide_shop: Shop, unique_name: Callable[[str], str]
) -> None:
    group = unique_name("gravitee")
    await wide_shop.write(0, 1000)
    await wide_shop.write(1, 1000)
    await commit(wide_shop, group, {0: 1})
    [problem] = await refused(wide_shop, group)
    assert problem == (
        f'startFrom: group "{group}" has committed nothing in {wide_shop.source} 1, and autoOffsetReset is latest, so '
        "it is unknown which events are for the subscription; set startingAt to the time of its creation"
    )


async def refused(shop: Shop, group: str) -> list[str]:
    async with shop.store() as store:
        with pytest.raises(ConfigurationError) as caught:
            await store.apply(document(startFrom=f"group:{group}"))
        assert await store.list() == []
    return caught.value.problems


async def test_a_group_that_still_has_members_is_refused(wide_shop: Shop, unique_name: Callable[[str], str]) -> None:
    group = unique_name("gravitee")
    await wide_shop.write(0, 1000)
    await commit(wide_shop, group, {0: 1})
    async with member(wide_shop, group):
        [problem] = await refused(wide_shop, group)
    assert problem == (
        f'startFrom: group "{group}" still has a member, which would continue to deliver; stop its consumers, '
        "then apply this again"
    )
    async with wide_shop.store() as store:
        assert (await store.apply(document(startFrom=f"group:{group}"))).what == "created"


async def test_a_group_that_has_committed_nothing_is_refused(
    wide_shop: Shop, unique_name: Callable[[str], str]
) -> None:
    group = unique_name("gravitee")
    [problem] = await refused(wide_shop, group)
    assert problem.startswith(
        f'startFrom: group "{group}" has committed nothing in {wide_shop.source}: the name is wrong, '
    )


async def test_offsets_of_a_deleted_topic_are_refused(wide_shop: Shop, unique_name: Callable[[str], str]) -> None:
    group = unique_name("gravitee")
    await wide_shop.write(0, 1000)
    await commit(wide_shop, group, {0: 7})
    [problem] = await refused(wide_shop, group)
    assert problem == (
        f'startFrom: group "{group}" has committed 7 in partition 0 of {wide_shop.source}, an offset '
        "of a former topic with this name: the log ends at 1"
    )


def commit_with_kip_848(shop: Shop, group: str) -> None:
    """A consumer with the newer protocol consumes one event and leaves."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": shop.broker.bootstrap,
            "group.id": group,
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([shop.source])
    message = None
    while message is None:
        message = consumer.poll(1)
    consumer.commit(message=message, asynchronous=False)
    consumer.close()


async def test_a_group_that_hides_its_members_is_refused(wide_shop: Shop, unique_name: Callable[[str], str]) -> None:
    group = unique_name("gravitee")
    await wide_shop.write(0, 1000)
    await asyncio.to_thread(commit_with_kip_848, wide_shop, group)
    [problem] = await refused(wide_shop, group)
    assert problem.startswith(f'startFrom: group "{group}" hides its members, because it uses the protocol of KIP-848')
