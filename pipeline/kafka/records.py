r"""aiokafka's consumer, which reads every record that a broker takes.

The name of a record header is bytes to Kafka. Java's clients write UTF-8, others write what they are told to; brokers
look at no name, and Java's consumer replaces what it can't decode. aiokafka raises instead, with every fetch that holds
the record: its partition would stand still for as long as the log keeps it.

Here a batch that aiokafka's parser gives up is parsed again, by a slower one that writes such names with escapes, as
`x-\xff`. That is no name of an HTTP field, so it is left out of calls as others are (http/headers.py); and it is
text that can be logged, and written to the dead letters and back. All other batches cost what they did.

Faust makes its consumer itself, and aiokafka's fetcher looks its parser up in its own module: there it is replaced when
this is imported, for all consumers of the process.
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
"""In batches of an older format there is no name to decode."""
PASSED_OVER_AT_ONCE = 64
"""Of so many records that are passed over in a batch the last one is handed out all the same."""


class Sieve:
    """Lets a consumer pass over records by their keys, at a fifth of what it costs to hand them out.

    It is given to the consumer as `key_deserializer`, for that is what aiokafka hands on to where records are made.
    `keys` may be changed between two calls of the consumer; what it has passed over counts as read.

    Attributes:
        keys: of the records that are wanted, b"" for those without a key; None for all records.
    """

    __slots__ = ("keys",)

    def __init__(self) -> None:
        self.keys: frozenset[bytes] | None = None

    def __call__(self, key: bytes | None) -> bytes | None:
        """The key as it is: some records get by unsifted (`RepeatableBatches`)."""
        return key


class SiftedBatch:
    """A batch that hands out what its sieve lets through; for the rest it is the batch that it is made of.

    Its last record always gets through: a consumer that has nothing to hand out tells nobody how far it has come. So
    does one of many that are passed over: for how long a consumer goes on is bounded by what it may hand out at once.
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
            # Asked for each record: between two of them others may have come to be wanted.
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
    """What a fetch has brought of one partition, as aiokafka parses it; its bytes are kept for a second look."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data
        self.sieve: Sieve | None = None

    def next_batch(self) -> Any:
        """As aiokafka's; sifted if there is a sieve."""
        batch = super().next_batch()
        return batch if self.sieve is None else SiftedBatch(batch, self.sieve)


class RepeatableBatches:
    """The same, of which a batch can be had once more, to be parsed here.

    Args:
        data: what the fetch has brought.
        position: the place in the log that its consumer has come to; the batch with it counts as handed out.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self._batches = _MemoryRecordsPy(data)
        self._bytes = memoryview(b"")
        self._repeated: EscapingBatch | None = None
        self._is_repeated = False
        while self.has_next() and self.next_batch().next_offset <= position:
            pass

    def has_next(self) -> bool:
        """As aiokafka's."""
        return self._repeated is not None or bool(self._batches.has_next())

    def next_batch(self) -> Any:
        """As aiokafka's, and parsed by aiokafka unless it is a repeated one."""
        if self._repeated is not None:
            batch, self._repeated = self._repeated, None
            return batch
        data = self._batches._next_slice  # noqa: SLF001 - it is what `next_batch` takes
        batch = self._batches.next_batch()
        self._bytes, self._is_repeated = data, False
        return batch

    def repeat(self) -> bool:
        """Hand the last batch out once more; False if that would change nothing."""
        if self._is_repeated or self._bytes[_MAGIC_OFFSET] < _FIRST_MAGIC_WITH_HEADERS:
            return False
        self._repeated, self._is_repeated = EscapingBatch(self._bytes), True
        return True


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka has no types
    """aiokafka's, which goes on with the same record when its batch could not be parsed."""

    _records: Any
    _records_iterator: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if isinstance(self._key_deserializer, Sieve) and isinstance(self._records, FetchedBatches):
            self._records.sieve = self._key_deserializer

    def __next__(self) -> Any:
        while True:
            # As aiokafka's: it is called for each record, and costs nothing more until something is raised.
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
                # It passes over the records of the batch that have been handed out.
                self._records_iterator = self._unpack_records()


class EscapingBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka has no types
    """A batch parsed in Python, with names that need not be UTF-8."""

    _pos: int

    def _read_msg(self) -> _DefaultRecordPy:
        # See https://kafka.apache.org/documentation/#record. A ValueError or IndexError here means: not a record.
        buffer = self._buffer
        length, start = decode_varint(buffer, self._pos)
        if not 0 < length <= len(buffer) - start:
            raise ValueError(f"a record of {length} bytes does not fit into its batch")
        # The attributes are one byte, of which no bit is in use. (aiokafka reads a varint: it gives up where the
        # highest bit is set.)
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


fetcher.MemoryRecords = FetchedBatches
fetcher.PartitionRecords = PartitionRecords

_STRANGE_BATCH: Final = bytes.fromhex(
    "000000000000000000000040ffffffff025958 4a53000000000000"  # offset, length, epoch, magic, CRC
    "00000000000000000000000000000000ffffffffffffffffffffffffffff00000001"  # times, producer, count
    "1c0000000a7375622d31000202ff00"  # one record: key sub-1, header b"\xff" with the value b""
)


def _reads_any_header_name() -> bool:
    place, batches = TopicPartition("", 0), fetcher.MemoryRecords(_STRANGE_BATCH)
    records = fetcher.PartitionRecords(
        place, batches, [], 0, None, None, check_crcs=False, isolation_level=fetcher.READ_UNCOMMITTED
    )
    return [record.headers for record in records] == [(("\\xff", b""),)]


PATCHES: Final = tuple(
    Patch("aiokafka", "its parser of records", "a header name that is not UTF-8 stops its partition", takes)
    for takes in (
        _reads_any_header_name,
        looks_up("aiokafka.consumer.fetcher:Fetcher._proc_fetch_request", "MemoryRecords", "PartitionRecords"),
    )
)
