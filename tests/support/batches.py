"""Makes batches of records that Java clients never write, for example with header names that are not UTF-8."""

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.util import calc_crc32c, encode_varint

ENCODERS: Final = {"none": bytes, "gzip": gzip_encode, "snappy": snappy_encode, "lz4": lz4_encode, "zstd": zstd_encode}
"""The compressors, by name of the codec, in the order of Kafka's codec numbers."""
LOG_APPEND_TIME: Final = 0x08
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20


@dataclass(frozen=True, slots=True)
class Written:
    """A record to write. *attributes* is a byte that Kafka does not use yet."""

    value: bytes | None = b""
    key: bytes | None = b"sub-1"
    headers: Sequence[tuple[bytes | None, bytes | None]] = ()
    attributes: int = 0
    timestamp_delta: int = 0


def batch(
    *records: Written,
    codec: str = "none",
    base_offset: int = 0,
    attributes: int = 0,
    timestamp: int | None = None,
    producer_id: int = -1,
) -> bytes:
    """Make one batch. A broker sets its base offset.

    Args:
        records: the records of the batch.
        codec: the compression of the records.
        base_offset: the offset of the first record.
        attributes: the attributes of the batch, without the codec.
        timestamp: the timestamp of the first record; None: now.
        producer_id: the producer whose transaction the batch belongs to.
    """
    first = int(time.time() * 1000) if timestamp is None else timestamp
    attributes |= list(ENCODERS).index(codec)
    body = b"".join(_record(record, delta) for delta, record in enumerate(records))
    last = len(records) - 1
    rest = struct.pack(">hiqqqhii", attributes, last, first, first, producer_id, -1, -1, len(records))
    rest += bytes(ENCODERS[codec](body))
    return struct.pack(">qiibI", base_offset, len(rest) + 9, -1, 2, calc_crc32c(rest)) + rest


def _record(record: Written, offset_delta: int) -> bytes:
    headers = b"".join(_bytes(name) + _bytes(value) for name, value in record.headers)
    body = bytes([record.attributes]) + _varint(record.timestamp_delta) + _varint(offset_delta)
    return _bytes(body + _bytes(record.key) + _bytes(record.value) + _varint(len(record.headers)) + headers)


def _bytes(data: bytes | None) -> bytes:
    return _varint(-1) if data is None else _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    encode_varint(number, out.append)
    return bytes(out)
