"""The fenced row store, on each kind of broker; fencing on a real Kafka only."""

import asyncio
import contextlib
import gc
import logging
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError

from pipeline.core.errors import FencedError
from pipeline.core.model import Cause, Cursor, Row, Status, UnreadableRow
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.cursors import LATE_SECONDS, KafkaRows
from pipeline.kafka.row_format import encode
from tests.support.batches import Written, batch
from tests.support.brokers import TestBroker
from tests.support.failing_broker import FailingBroker, Request
from tests.support.waiting import eventually

INVALID_RECORD = 87
"""An error that aiokafka does not retry."""

ANSWER_SECONDS = 0.02

STOPPED = Cursor(
    next=7, status=Status.FAILURE, cause=Cause("rejected", "the callback answered 400", 7, 1.5), revision=3
)


@asynccontextmanager
async def opened(
    broker: TestBroker, topic: str, written: list[int] | None = None, late_seconds: float = LATE_SECONDS
) -> AsyncIterator[KafkaRows]:
    rows = store(broker, topic, written, late_seconds=late_seconds)
    await rows.open()
    try:
        yield rows
    finally:
        await rows.close()


def store(
    broker: TestBroker,
    topic: str,
    written: list[int] | None = None,
    partition: int = 1,
    late_seconds: float = LATE_SECONDS,
) -> KafkaRows:
    connection = KafkaConnection((broker.bootstrap,), embedded=broker.embedded)
    counts: list[int] = [] if written is None else written
    return KafkaRows(connection, topic, partition, on_written=counts.append, late_seconds=late_seconds)


async def found(broker: TestBroker, topic: str) -> dict[bytes, Row]:
    rows = store(broker, topic)
    try:
        return dict(await rows.open())
    finally:
        await rows.close()


@pytest.fixture
async def topic(broker: TestBroker, unique_name: Callable[[str], str]) -> str:
    return await broker.create_topic(unique_name("cursors"), 2, {"cleanup.policy": "compact"})


async def test_the_next_owner_finds_the_newest_row_of_each_lane(broker: TestBroker, topic: str) -> None:
    async with opened(broker, topic) as rows:
        await rows.put(b"sub-1", Cursor(next=5))
        await asyncio.gather(rows.put(b"sub-1", Cursor(next=6)), rows.put(b"sub-2", STOPPED))
    assert await found(broker, topic) == {b"sub-1": Cursor(next=6), b"sub-2": STOPPED}


async def test_a_binary_header_name_does_not_stop_the_loading(broker: TestBroker, topic: str) -> None:
    await broker.append(topic, batch(Written(encode(STOPPED), b"sub-1", [(b"x-\xff", b"1")])), partition=1)
    assert await found(broker, topic) == {b"sub-1": STOPPED}


async def test_a_deleted_row_is_not_loaded(broker: TestBroker, topic: str) -> None:
    async with opened(broker, topic) as rows:
        await rows.put(b"sub-1", Cursor(next=5))
        await rows.put(b"sub-1", None)
    assert await found(broker, topic) == {}


async def test_rows_that_wait_are_written_in_one_transaction(broker: TestBroker, topic: str) -> None:
    written: list[int] = []
    async with opened(broker, topic, written) as rows:
        await asyncio.gather(*(rows.put(b"sub-%d" % number, Cursor(next=number)) for number in range(50)))
    assert written == [50]


async def test_only_the_newest_waiting_row_of_a_lane_is_written(broker: TestBroker, topic: str) -> None:
    async with opened(broker, topic) as rows:
        await asyncio.gather(*(rows.put(b"sub-1", Cursor(next=number)) for number in range(10)))
    assert await found(broker, topic) == {b"sub-1": Cursor(next=9)}


@pytest.fixture
async def topic_of_embedded(embedded: TestBroker, unique_name: Callable[[str], str]) -> str:
    return await embedded.create_topic(unique_name("cursors"), 2)


async def test_a_row_counts_only_after_its_transaction_is_committed(
    embedded: TestBroker, topic_of_embedded: str
) -> None:
    written: list[int] = []
    async with opened(embedded, topic_of_embedded, written) as rows:
        assert embedded.mock is not None
        embedded.mock.fail_next(Request.PRODUCE, [INVALID_RECORD])
        await rows.put(b"sub-1", Cursor(next=5))
        assert written == [1]
        assert await found(embedded, topic_of_embedded) == {b"sub-1": Cursor(next=5)}


async def test_a_bug_in_writing_rows_fences_the_partition(
    embedded: TestBroker, topic_of_embedded: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the worker kept the partition, the lane would wait for its row forever, and nothing would report this."""

    class Faulty(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
        async def send(self, *_: Any, **__: Any) -> None:
            raise AssertionError("Unrecognized partition")

    monkeypatch.setattr("pipeline.kafka.cursors.AIOKafkaProducer", Faulty)
    async with opened(embedded, topic_of_embedded) as rows, asyncio.timeout(20):
        for _ in range(2):
            with pytest.raises(FencedError):
                await rows.put(b"sub-1", Cursor(next=5))
    assert "AssertionError: Unrecognized partition" in caplog.text


async def test_rows_that_are_not_committed_are_reported(
    embedded: TestBroker, topic_of_embedded: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    may_send = asyncio.Event()

    class Slow(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
        async def send(self, *arguments: Any, **options: Any) -> Any:
            await may_send.wait()
            return await super().send(*arguments, **options)

    async def said_twice() -> bool:
        return caplog.text.count(" s for their commit") > 1

    monkeypatch.setattr("pipeline.kafka.cursors.AIOKafkaProducer", Slow)
    async with opened(embedded, topic_of_embedded, late_seconds=0.01) as rows:
        written = rows.put(b"sub-1", Cursor(next=5))
        await eventually(said_twice, within_seconds=20, says=lambda: caplog.text)
        may_send.set()
        await written
        assert rows._warning.cancelled()
        assert "waiting 0.02 s for their commit" in caplog.text


async def test_a_close_ends_the_warnings_about_waiting_rows(
    embedded: TestBroker, topic_of_embedded: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
        async def send(self, *_arguments: Any, **_options: Any) -> Any:
            await asyncio.Event().wait()

    async def said() -> bool:
        return " s for their commit" in caplog.text

    monkeypatch.setattr("pipeline.kafka.cursors.AIOKafkaProducer", Stuck)
    monkeypatch.setattr("pipeline.kafka.cursors.CLOSE_SECONDS", 0.0)
    async with opened(embedded, topic_of_embedded, late_seconds=0.01) as rows:
        written = rows.put(b"sub-1", Cursor(next=5))
        await eventually(said, within_seconds=20, says=lambda: caplog.text)
    assert (written.cancelled(), rows._warning.cancelled()) == (True, True)


async def test_a_close_writes_waiting_rows(broker: TestBroker, topic: str) -> None:
    async with opened(broker, topic) as rows:
        rows.put(b"sub-1", Cursor(next=5))
    assert await found(broker, topic) == {b"sub-1": Cursor(next=5)}


async def test_a_close_does_not_wait_for_an_unavailable_broker(unique_name: Callable[[str], str]) -> None:
    with FailingBroker() as mock:
        broker = TestBroker(mock.bootstrap, mock)
        rows = store(broker, await broker.create_topic(unique_name("cursors"), 2))
        await rows.open()
    row = rows.put(b"sub-1", Cursor(next=5))
    await asyncio.wait_for(rows.close(), 20)
    assert row.cancelled()


async def test_a_cancelled_opening_leaves_no_client_open(embedded: TestBroker, topic_of_embedded: str) -> None:
    assert embedded.mock is not None
    embedded.mock.delay(ANSWER_SECONDS)
    with warnings.catch_warnings(record=True) as unclosed:
        warnings.simplefilter("always", ResourceWarning)
        for answers in range(1, 20):  # the opening is cancelled after each of its steps, and after its end
            rows = store(embedded, topic_of_embedded)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(answers * ANSWER_SECONDS):
                    await rows.open()
            await rows.close()
        gc.collect()
    # If aiokafka is cancelled while it makes a connection, it does not close the connection.
    assert [text for each in unclosed if "Connection" not in (text := str(each.message))] == []


async def test_a_transactional_id_stays_in_use_without_any_rows(kafka: TestBroker, kafka_topic: str) -> None:
    used = asyncio.Event()
    rows = KafkaRows(kafka.connection, kafka_topic, 1, on_written=lambda _: used.set(), keep_alive_seconds=0.05)
    try:
        await rows.open()
        await asyncio.wait_for(used.wait(), 20)
        await rows.put(b"sub-1", Cursor(next=5))
    finally:
        await rows.close()
    assert await found(kafka, kafka_topic) == {b"sub-1": Cursor(next=5)}


async def test_an_unreadable_row_does_not_hide_the_other_rows(broker: TestBroker, topic: str) -> None:
    await broker.produce(topic, (b"sub-1", b"no row"), (b"sub-2", b'{"next":3,"status":"started"}'), partition=1)
    assert await found(broker, topic) == {b"sub-1": UnreadableRow("it is not JSON"), b"sub-2": Cursor(next=3)}


async def test_rows_of_other_partitions_are_not_loaded(broker: TestBroker, topic: str) -> None:
    await broker.produce(topic, (b"sub-1", b'{"next":3,"status":"started"}'), partition=0)
    assert await found(broker, topic) == {}


@pytest.fixture
async def kafka_topic(kafka: TestBroker, unique_name: Callable[[str], str]) -> str:
    return await kafka.create_topic(unique_name("cursors"), 2, {"cleanup.policy": "compact"})


async def test_the_rows_of_a_former_owner_are_refused(
    kafka: TestBroker, kafka_topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(kafka, kafka_topic) as former:
        await former.put(b"sub-1", Cursor(next=5))
        async with opened(kafka, kafka_topic) as owner:
            with pytest.raises(FencedError):
                await former.put(b"sub-1", Cursor(next=1))
            assert "from this worker: ProducerFenced" in caplog.text
            await owner.put(b"sub-2", Cursor(next=9))
            with pytest.raises(FencedError):
                await former.put(b"sub-1", None)
    assert await found(kafka, kafka_topic) == {b"sub-1": Cursor(next=5), b"sub-2": Cursor(next=9)}


@pytest.fixture
async def left() -> AsyncIterator[list[str]]:
    """The errors that asyncio would log, such as an error that was not retrieved before its future was collected."""
    left: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: left.append(context["message"]))
    yield left
    loop.set_exception_handler(None)


async def test_a_fenced_producer_leaves_no_error_behind(
    kafka: TestBroker, kafka_topic: str, left: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "pipeline.kafka.cursors")  # stored records would keep the error and its futures

    async def be_fenced() -> None:
        async with opened(kafka, kafka_topic) as former, opened(kafka, kafka_topic):
            refused = former.put(b"sub-1", Cursor(next=5))
            await asyncio.wait([refused])
            assert isinstance(refused.exception(), FencedError)

    await be_fenced()
    gc.collect()
    assert left == []


async def test_a_refused_transaction_leaves_no_error_behind(
    kafka: TestBroker, kafka_topic: str, left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [TopicAuthorizationFailedError()]

    class Refused(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
        """Kafka refuses the first rows, as if the right to write were missing."""

        async def send(self, *arguments: Any, **options: Any) -> Any:
            if refusals:
                error = refusals.pop()
                self._txn_manager.error_transaction(error)
                raise error
            return await super().send(*arguments, **options)

    monkeypatch.setattr("pipeline.kafka.cursors.AIOKafkaProducer", Refused)
    async with opened(kafka, kafka_topic) as rows, asyncio.timeout(60):
        await rows.put(b"sub-1", Cursor(next=5))
    gc.collect()
    assert left == []


async def test_the_former_owner_s_open_transaction_is_aborted_first(kafka: TestBroker, kafka_topic: str) -> None:
    former = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"{kafka_topic}.1")
    await former.start()
    try:
        await former.begin_transaction()
        await former.send_and_wait(kafka_topic, b'{"next":1,"status":"started"}', b"sub-1", partition=1)
        assert await found(kafka, kafka_topic) == {}
    finally:
        await former.stop()


async def test_the_last_row_of_the_former_owner_is_found(
    kafka: TestBroker, kafka_topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(kafka, kafka_topic) as former:

        class Fencing(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
            """The former owner writes a row right before it is fenced."""

            async def start(self) -> None:
                await former.put(b"sub-1", Cursor(next=8))
                await super().start()

        monkeypatch.setattr("pipeline.kafka.cursors.AIOKafkaProducer", Fencing)
        assert await found(kafka, kafka_topic) == {b"sub-1": Cursor(next=8)}


async def test_partitions_of_one_worker_do_not_fence_each_other(kafka: TestBroker, kafka_topic: str) -> None:
    stores = [store(kafka, kafka_topic, partition=number) for number in range(2)]
    try:
        for rows in stores:
            await rows.open()
        for rows in stores:
            await rows.put(b"sub-1", Cursor(next=5))
    finally:
        await asyncio.gather(*(rows.close() for rows in stores))


async def test_rows_queued_behind_fenced_rows_are_refused(kafka: TestBroker, kafka_topic: str) -> None:
    async with opened(kafka, kafka_topic) as former, opened(kafka, kafka_topic):
        first = former.put(b"sub-1", Cursor(next=5))
        while former._group.rows:  # noqa: ASYNC110 - the next turn of the writer takes them
            await asyncio.sleep(0)
        second = former.put(b"sub-2", Cursor(next=5))
        assert not first.done()
        async with asyncio.timeout(20):
            for row in (first, second):
                with pytest.raises(FencedError):
                    await row


async def test_a_producer_with_a_fatal_error_is_given_up(
    kafka: TestBroker, kafka_topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
        """Kafka refuses a row permanently, for a reason other than a new owner."""

        async def send(self, *_: Any, **__: Any) -> None:
            error = TopicAuthorizationFailedError()
            self._txn_manager.fatal_error(error)
            raise error

    monkeypatch.setattr("pipeline.kafka.cursors.AIOKafkaProducer", Broken)
    async with opened(kafka, kafka_topic) as rows, asyncio.timeout(20):
        with pytest.raises(FencedError):
            await rows.put(b"sub-1", Cursor(next=5))
