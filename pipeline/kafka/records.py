r"""aiokafka's consumer, patched to read every record that a broker accepts.

In Kafka the name of a record header is bytes. Java clients write UTF-8, other clients may write any bytes, and brokers
do not check them. Java's consumer replaces bytes that it can't decode. But aiokafka raises an error at every fetch that
contains the record. So the partition would stop until the record is deleted. Here a batch that aiokafka's parser
rejects is parsed again, by a slower parser that escapes such names, as in `x-\xff`. An escaped name is not a valid HTTP
field name, so the header is not sent (http/headers.py), but it can be logged and written to a dead letter. All other
batches are parsed by aiokafka.

Faust creates its consumer itself, and aiokafka's fetcher looks up its parser in its own module. So importing this
module replaces the parser there, for all consumers of the process. It also replaces the method with which the fetcher
records an error.
"""

from collections.abc import Iterator
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import MemoryRecords, _MemoryRecordsPy
from aiokafka.record.util import decode_varint

from pipeline.core.patches import Patch, looks_up

__all__ = ["PATCHES", "AIOKafkaConsumer", "Sieve"]

_MAGIC_OFFSET = 16
_FIRST_MAGIC_WITH_HEADERS = 2
"""Batches of an older format have no headers."""
PASSED_OVER_AT_ONCE = 64
"""After this many skipped records of a batch, one is handed out anyway."""


class Sieve:
    """Makes a consumer skip records by their keys. A skipped record costs a fifth of a record that is handed out.

    Pass it to the consumer as `key_deserializer`, which aiokafka hands on to the code that creates records. `keys` may
    be changed between two calls of the consumer. Skipped records count as read.

    Attributes:
        keys: the keys of the records to hand out, b"" for records without a key; None for all records.
    """

    __slots__ = ("keys",)

    def __init__(self) -> None:
        self.keys: frozenset[bytes] | None = None

    def __call__(self, key: bytes | None) -> bytes | None:
        """The key unchanged: `RepeatableBatches` does not sift its records."""
        return key


class SiftedBatch:
    """Wraps a batch and hands out the records that its sieve lets through.

    The last record is always handed out, because a consumer's position moves only with a record that is handed out. In
    a long run of skipped records, one in `PASSED_OVER_AT_ONCE` is handed out too, so that a call of the consumer, which
    ends after a number of records, does not take long.
    """

    __slots__ = ("_batch", "_sieve")

    def __init__(self, batch: Any, sieve: Sieve) -> None:
        self._batch = batch
        self._sieve = sieve

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        sieve, held_back, passed_over = self._sieve, None, 0
        for record in self._batch:
            # The keys are looked up for each record, because they may change between two records.
            keys = sieve.keys
            if keys is None or (record.key or b"") in keys:
                held_back = None
                yield record
                continue
            held_back = record
            passed_over += 1
            if passed_over == PASSED_OVER_AT_ONCE:
                held_back, passed_over = None, 0
                yield record
        if held_back is not None:
            yield held_back


class FetchedBatches(MemoryRecords):  # type: ignore[misc]  # aiokafka has no types
    """The fetched batches of one partition, parsed by aiokafka. Keeps the bytes, so they can be parsed again."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data
        self.sieve: Sieve | None = None

    def next_batch(self) -> Any:
        """The next batch, sifted if there is a sieve."""
        batch = super().next_batch()
        return batch if self.sieve is None else SiftedBatch(batch, self.sieve)


class RepeatableBatches:
    """Fetched batches. The last batch can be repeated, and is then parsed by `EscapingBatch`.

    Args:
        data: the fetched bytes.
        position: the consumer's next offset; the batch that contains it counts as handed out.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self._batches = _MemoryRecordsPy(data)
        self._bytes = memoryview(b"")
        self._repeated: EscapingBatch | None = None
        self._is_repeated = False
        while self.has_next() and self.next_batch().next_offset <= position:
            pass

    def has_next(self) -> bool:
        """Whether there is a further batch."""
        return self._repeated is not None or bool(self._batches.has_next())

    def next_batch(self) -> Any:
        """The next batch, parsed by aiokafka unless it is a repeated one."""
        if self._repeated is not None:
            batch, self._repeated = self._repeated, None
            return batch
        data = self._batches._next_slice  # noqa: SLF001 - the bytes that `next_batch` parses
        batch = self._batches.next_batch()
        self._bytes, self._is_repeated = data, False
        return batch

    def repeat(self) -> bool:
        """Prepare to hand the last batch out once more. Returns False if that would change nothing."""
        if self._is_repeated or self._bytes[_MAGIC_OFFSET] < _FIRST_MAGIC_WITH_HEADERS:
            return False
        self._repeated, self._is_repeated = EscapingBatch(self._bytes), True
        return True


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's iterator. If a batch can't be parsed, it resumes at the same record with another parser."""

    _records: Any
    _records_iterator: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if isinstance(self._key_deserializer, Sieve) and isinstance(self._records, FetchedBatches):
            self._records.sieve = self._key_deserializer

    def __next__(self) -> Any:
        while True:
            # Called for each record. It does the same as aiokafka's method, and is as fast if no error is raised.
            try:
                return next(self._records_iterator)
            except StopIteration:
                self._records_iterator = None
                raise
            except (ValueError, CorruptRecordException):  # a UnicodeDecodeError is a ValueError
                if isinstance(self._records, FetchedBatches):
                    self._records = RepeatableBatches(self._records.data, self.next_fetch_offset)
                if not self._records.repeat():
                    raise
                # This skips the records of the batch that were handed out before.
                self._records_iterator = self._unpack_records()


class EscapingBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka has no types
    """A batch parsed in Python, whose header names need not be UTF-8."""

    _pos: int

    def _read_msg(self) -> _DefaultRecordPy:
        # The format: https://kafka.apache.org/documentation/#record. A ValueError or IndexError means that this is not
        # a record.
        buffer = self._buffer
        length, start = decode_varint(buffer, self._pos)
        if not 0 < length <= len(buffer) - start:
            raise ValueError(f"a record of {length} bytes does not fit into its batch")
        # The attributes are one byte, whose bits are all unused. (aiokafka reads a varint and fails if the highest bit
        # is set.)
        delta, pos = decode_varint(buffer, start + 1)
        timestamp = self.max_timestamp if self.timestamp_type == self.LOG_APPEND_TIME else self.first_timestamp + delta
        offset_delta, pos = decode_varint(buffer, pos)
        key, pos = _read_bytes(buffer, pos)
        value, pos = _read_bytes(buffer, pos)
        count, pos = decode_varint(buffer, pos)
        headers = []
        for _ in range(count):
            name, pos = _read_bytes(buffer, pos)
            header, pos = _read_bytes(buffer, pos)
            if name is None:
                raise ValueError("a header without a name")
            headers.append((name.decode("utf-8", "backslashreplace"), header))
        if pos - start != length:
            raise ValueError(f"a record of {pos - start} bytes claims a length of {length}")
        self._pos = pos
        return _DefaultRecordPy(self.base_offset + offset_delta, timestamp, self.timestamp_type, key, value, headers)


def _read_bytes(buffer: bytearray, pos: int) -> tuple[bytes | None, int]:
    length, pos = decode_varint(buffer, pos)
    return (None, pos) if length < 0 else (bytes(buffer[pos : pos + length]), pos + length)


_set_error: Final = fetcher.Fetcher._set_error  # noqa: SLF001 - replaced below


def keep_first_error(self: Any, tp: TopicPartition, error: Exception) -> None:
    """Record an error of a partition, but keep an earlier one that the consumer has not raised yet.

    In aiokafka, a second error fails an assertion and ends the fetcher. The worker would remain in its group, and fetch
    nothing.
    """
    if not isinstance(self._records.get(tp), fetcher.FetchError):
        _set_error(self, tp, error)


fetcher.MemoryRecords = FetchedBatches
fetcher.PartitionRecords = PartitionRecords
fetcher.Fetcher._set_error = keep_first_error  # noqa: SLF001 - it has no public way

_STRANGE_BATCH: Final = bytes.fromhex(
    "000000000000000000000040ffffffff025958 4a53000000000000"  # offset, length, epoch, magic, CRC
    "00000000000000000000000000000000ffffffffffffffffffffffffffff00000001"  # times, producer, count
    "1c0000000a7375622d31000202ff00"  # one record: key sub-1, header b"\xff" with the value b""
)


def _reads_any_header_name() -> bool:
    tp, batches = TopicPartition("", 0), fetcher.MemoryRecords(_STRANGE_BATCH)
    records = fetcher.PartitionRecords(
        tp, batches, [], 0, None, None, check_crcs=False, isolation_level=fetcher.READ_UNCOMMITTED
    )
    return [record.headers for record in records] == [(("\\xff", b""),)]


PATCHES: Final = (
    *(
        Patch("aiokafka", "its record parser", "a header name that is not UTF-8 stops its partition", takes)
        for takes in (
            _reads_any_header_name,
            looks_up("aiokafka.consumer.fetcher:Fetcher._proc_fetch_request", "MemoryRecords", "PartitionRecords"),
        )
    ),
    Patch(
        "aiokafka",
        "Fetcher._set_error",
        "a second error of a partition ends all fetching",
        looks_up("aiokafka.consumer.fetcher:Fetcher._update_fetch_positions", "_set_error"),
    ),
)
