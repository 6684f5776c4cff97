"""Rows of several source topics in one partition of `<app>.cursors`: reading, writing and fencing."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.core.errors import FencedError
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Cursor, Row
from pipeline.kafka.cursor_rows import ReadRows, read_rows, read_topic_ids
from pipeline.kafka.cursors import KafkaRows
from pipeline.kafka.row_keys import RowKeys
from pipeline.kafka.topic_rows import RowStores, TopicRows
from tests.support.brokers import TestBroker

ORDERS, PAYMENTS = "O" * 22, "P" * 22
IDS = {"orders": ORDERS, "payments": PAYMENTS}


@pytest.fixture
async def cursors(kafka: TestBroker, unique_name: Callable[[str], str]) -> str:
    return await kafka.create_topic(unique_name("rows"), 2, {"cleanup.policy": "compact"})


def stores(kafka: TestBroker, cursors: str, *topics: str) -> RowStores:
    """The row stores of a worker whose definition has these topics."""
    return RowStores(topics, partial(KafkaRows, kafka.connection, cursors, on_written=lambda _: None))


async def opened(found: RowStores, topic: str) -> tuple[TopicRows, dict[bytes, Row]]:
    rows = found.rows_of(topic, 1, LogBounds.unseen(IDS[topic]))
    return rows, dict(await rows.open())


async def test_rows_survive_changes_of_the_definition_s_topics(kafka: TestBroker, cursors: str) -> None:
    alone, before = await opened(stores(kafka, cursors, "orders"), "orders")
    assert before == {}
    await asyncio.gather(alone.put(b"s", Cursor(7)), alone.put(b"t", Cursor(8)))
    await alone.close()

    both = stores(kafka, cursors, "orders", "payments")
    (orders, found), (payments, others) = await opened(both, "orders"), await opened(both, "payments")
    assert (found, others) == ({b"s": Cursor(7), b"t": Cursor(8)}, {})
    await asyncio.gather(orders.put(b"s", Cursor(9)), payments.put(b"s", Cursor(3)), payments.put(b"u", Cursor(4)))
    await asyncio.gather(orders.close(), payments.close())

    both = stores(kafka, cursors, "payments", "orders")
    (orders, found), (payments, others) = await opened(both, "orders"), await opened(both, "payments")
    assert found == {b"s": Cursor(9), b"t": Cursor(8)}
    assert others == {b"s": Cursor(3), b"u": Cursor(4)}
    await payments.put(b"u", None)
    await asyncio.gather(orders.close(), payments.close())

    for topic, rows in (("payments", {b"s": Cursor(3)}), ("orders", {b"s": Cursor(9), b"t": Cursor(8)})):
        alone, found = await opened(stores(kafka, cursors, topic), topic)
        assert found == rows
        await alone.close()


async def test_the_id_of_the_source_topic_is_stored_once(kafka: TestBroker, cursors: str) -> None:
    source = await kafka.create_topic(f"{cursors}-source", 2)
    written: list[int] = []
    for topic_id in ("A" * 22, "A" * 22, "B" * 22):
        found = RowStores([source], partial(KafkaRows, kafka.connection, cursors, on_written=written.append))
        rows = found.rows_of(source, 1, LogBounds.unseen(topic_id))
        assert await rows.open() == {}
        await rows.close()
    assert written == [1, 1]
    assert await read_topic_ids(kafka.connection, cursors, RowKeys(source, is_alone=True)) == {1: "B" * 22}
    assert await read_rows(kafka.connection, cursors, [source]) == ReadRows([], [])


async def test_a_new_owner_fences_the_rows_of_every_topic(kafka: TestBroker, cursors: str) -> None:
    """The new owner fences the former owner whatever the number of topics in their two definitions."""
    both = stores(kafka, cursors, "orders", "payments")
    former = [(await opened(both, topic))[0] for topic in ("orders", "payments")]
    await former[0].put(b"s", Cursor(7))
    alone, found = await opened(stores(kafka, cursors, "orders"), "orders")
    assert found == {b"s": Cursor(7)}
    for rows in former:
        with pytest.raises(FencedError):
            await rows.put(b"s", Cursor(8))
    with pytest.raises(FencedError):
        await opened(both, "payments")
    await alone.put(b"s", Cursor(9))
    await asyncio.gather(alone.close(), *(rows.close() for rows in former))


async def test_a_partition_opens_after_its_topic_id_is_durable(
    broker: TestBroker, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The topic id is durable before the partition opens. Otherwise a worker that is killed between its first commit
    and its first row would seem to have lost rows."""
    writes, may_write = asyncio.Event(), asyncio.Event()

    class Held(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
        async def send(self, *arguments: Any, **options: Any) -> Any:
            writes.set()
            await may_write.wait()
            return await super().send(*arguments, **options)

    monkeypatch.setattr("pipeline.kafka.cursors.AIOKafkaProducer", Held)
    cursors = await broker.create_topic(unique_name("rows"), 2, {"cleanup.policy": "compact"})
    opening = asyncio.create_task(opened(stores(broker, cursors, "orders"), "orders"))
    try:
        await writes.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not opening.done()
    finally:
        may_write.set()
        rows, _ = await opening
        await rows.close()
