"""The cursor rows of one source topic's partition, in a store that all source topics share (row_keys.py).

A worker owns the partitions with the same number of all source topics. So there is one producer for each number, and
its transactional id does not depend on the topics of the definition.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.core.errors import FencedError
from pipeline.core.log_bounds import LogBounds
from pipeline.core.model import Cursor, Row
from pipeline.kafka.cursors import KafkaRows
from pipeline.kafka.row_keys import SOURCE_KEY, RowKeys

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Shared:
    store: KafkaRows
    users: int = 0


class RowStores:
    """The stores of a worker, one for each partition number that it owns.

    Args:
        make: creates the store of a number.
    """

    def __init__(self, topics: Sequence[str], make: Callable[[int], KafkaRows]) -> None:
        self._is_alone = len(topics) == 1
        self._make = make
        self._shared: dict[int, _Shared] = {}
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def rows_of(self, topic: str, number: int, log: LogBounds) -> "TopicRows":
        """The rows of a partition, which are not opened yet. *log* has the topic ids of the topic and of the commit."""
        return TopicRows(RowKeys(topic, is_alone=self._is_alone), number, log, self)

    async def acquire(self, number: int) -> tuple[KafkaRows, Mapping[bytes, Row]]:
        """The store of a number, and its rows. The first call for a number fences the former owner.

        Raises:
            FencedError: a newer owner has fenced this worker.
            BrokerError: see `ports.RowStore.open`.
        """
        async with self._turns[number]:
            shared = self._shared.get(number)
            if shared is None:
                shared = _Shared(self._make(number))
                try:
                    rows = await shared.store.open()
                except BaseException:
                    await shared.store.close()
                    raise
                self._shared[number] = shared
            elif shared.store.is_fenced:
                raise FencedError(f"partition {number} has another owner")
            else:
                rows = await shared.store.load()
            shared.users += 1
            return shared.store, rows

    async def release(self, number: int) -> None:
        """Release a store that was acquired; the last release closes it."""
        async with self._turns[number]:
            shared = self._shared[number]
            shared.users -= 1
            if not shared.users:
                del self._shared[number]
                await shared.store.close()


class TopicRows:
    """The rows of one partition of a source topic; see `ports.RowStore`."""

    def __init__(self, keys: RowKeys, number: int, log: LogBounds, stores: RowStores) -> None:
        self._keys = keys
        self._number = number
        self._log = log
        self._stores = stores
        self._store: KafkaRows | None = None
        self._elsewhere: set[bytes] = set()

    async def open(self) -> Mapping[bytes, Row]:
        """See `ports.RowStore.open`."""
        store, rows = await self._stores.acquire(self._number)
        self._store = store
        topic_id = self._log.topic_id
        found = self._keys.find(rows, store.topic_ids, topic_id)
        self._elsewhere = found.elsewhere
        if topic_id is not None and topic_id == self._log.former_id and found.last_topic_id is None:
            logger.error(
                "cursor rows may be lost: the group has a committed offset in partition %d of %s, but the topic id "
                "that is stored beside the rows is missing; subscriptions that were behind, paused or in FAILURE "
                "continue at the committed offset, and do not get the earlier events that were waiting; stop the "
                "workers and restore a backup, or use replay",
                self._number,
                self._keys.topic,
            )
        if topic_id is not None and store.topic_ids.get(self._keys.of(SOURCE_KEY)) != topic_id:
            written = store.put_topic_id(self._keys.of(SOURCE_KEY), topic_id)
            other = self._keys.other_of(SOURCE_KEY)
            # With several source topics, the stored topic id shows to which topic the rows with plain keys belong.
            if self._keys.is_alone and store.topic_ids.get(other):
                store.put_topic_id(other, None)
            # The topic id comes before any commit: if the next owner finds a commit but no topic id, it reports lost
            # rows.
            await written
        return found.rows

    def put(self, key: bytes, cursor: Cursor | None) -> "asyncio.Future[None]":
        """See `ports.RowStore.put`."""
        if self._store is None:
            raise RuntimeError("put() was called before open()")
        if key in self._elsewhere:
            self._elsewhere.discard(key)
            self._store.put(self._keys.other_of(key), None)  # in the same transaction
        return self._store.put(
            self._keys.of(key), None if cursor is None else replace(cursor, topic_id=self._log.topic_id)
        )

    async def close(self) -> None:
        """See `ports.RowStore.close`."""
        store, self._store = self._store, None
        if store is not None:
            await self._stores.release(self._number)
