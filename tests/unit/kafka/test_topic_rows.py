"""The topic ids in cursor rows and beside them. The embedded broker has no topic ids, so a store in memory is used."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Cursor, Row
from pipeline.kafka.cursors import KafkaRows
from pipeline.kafka.row_keys import SOURCE_KEY
from pipeline.kafka.topic_rows import RowStores


class Stored:
    """A `KafkaRows` whose rows are durable at once."""

    def __init__(self, topic_id: str | None = None) -> None:
        self.topic_ids: dict[bytes, str | None] = {} if topic_id is None else {SOURCE_KEY: topic_id}
        self.rows: dict[bytes, Cursor | None] = {}
        self.is_fenced = self.is_closed = False

    async def open(self) -> Mapping[bytes, Row]:
        return {}

    def put(self, key: bytes, cursor: Cursor | None) -> "asyncio.Future[None]":
        self.rows[key] = cursor
        return _done()

    def put_topic_id(self, key: bytes, topic_id: str | None) -> "asyncio.Future[None]":
        self.topic_ids[key] = topic_id
        return _done()

    async def close(self) -> None:
        self.is_closed = True


def _done() -> "asyncio.Future[Any]":
    written: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    written.set_result(None)
    return written


def stores_of(stored: Stored) -> RowStores:
    return RowStores(["events"], lambda _number: cast("KafkaRows", stored))


async def test_a_row_is_stored_with_the_id_of_its_topic() -> None:
    stored = Stored()
    rows = stores_of(stored).rows_of("events", 0, LogBounds(0, 9, "new", former_id="old"))
    await rows.open()
    await rows.put(b"s", Cursor(4, topic_id="old"))
    written = stored.rows[b"s"]
    assert written is not None
    assert (written.next, written.topic_id) == (4, "new")
    assert stored.topic_ids == {SOURCE_KEY: "new"}
    await rows.close()
    assert stored.is_closed


@pytest.mark.parametrize(
    ("former", "stored", "is_loss"),
    [
        ("a", Stored(), True),
        ("a", Stored("a"), False),
        ("former", Stored(), False),
        (None, Stored(), False),
    ],
    ids=["no id", "an id", "a recreated topic", "no commit"],
)
async def test_lost_rows_are_recognised(
    former: str | None, stored: Stored, is_loss: bool, caplog: pytest.LogCaptureFixture
) -> None:
    await stores_of(stored).rows_of("events", 0, LogBounds(0, 9, "a", former_id=former)).open()
    assert ("cursor rows may be lost" in caplog.text) is is_loss
