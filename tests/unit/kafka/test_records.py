"""Fetched batches that aiokafka's parser can't read."""

from collections.abc import Iterable
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch

from pipeline.kafka.records import EscapingBatch, Sieve
from tests.support.batches import CONTROL, ENCODERS, LOG_APPEND_TIME, TRANSACTIONAL, Written, batch

PLACE = TopicPartition("events", 0)
PLAIN = Written(b"plain", headers=[(b"name", b"1")])
STRANGE = Written(b"strange", headers=[(b"before", b"1"), (b"x-\xff", b"2"), (b"after", None)])
ABORT_MARKER = Written(b"\0\0\0\0\0\0", b"\0\0\0\0")


def fetched(
    data: bytes,
    offset: int = 0,
    *,
    aborted: Iterable[tuple[int, int]] = (),
    isolation: int = fetcher.READ_UNCOMMITTED,
    sieve: Sieve | None = None,
) -> Any:
    """The records that aiokafka's fetcher makes from the data of a fetch from *offset*."""
    return fetcher.PartitionRecords(
        PLACE,
        fetcher.MemoryRecords(data),
        list(aborted),
        offset,
        sieve,
        None,
        check_crcs=True,
        isolation_level=isolation,
    )


def values(records: Iterable[Any]) -> list[tuple[int, bytes]]:
    return [(record.offset, record.value) for record in records]


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_header_name_that_is_not_utf8_is_escaped(codec: str) -> None:
    (record,) = fetched(batch(STRANGE, codec=codec, timestamp=1_700_000_000_000))
    assert record.headers == (("before", b"1"), ("x-\\xff", b"2"), ("after", None))
    assert (record.key, record.value, record.timestamp) == (b"sub-1", b"strange", 1_700_000_000_000)


@pytest.mark.parametrize("codec", ENCODERS)
def test_every_record_is_handed_out_once_and_in_order(codec: str) -> None:
    kinds = [PLAIN, STRANGE, PLAIN, STRANGE, STRANGE]
    batches = [[PLAIN, PLAIN], kinds, [PLAIN], kinds, [STRANGE], [STRANGE], [PLAIN]]
    data = b""
    expected: list[tuple[int, bytes | None]] = []
    for records in batches:
        data += batch(*records, codec=codec, base_offset=len(expected))
        expected += [(len(expected) + delta, record.value) for delta, record in enumerate(records)]
    assert values(fetched(data)) == expected


def test_a_fetch_may_begin_within_a_batch_that_aiokafka_rejects() -> None:
    data = batch(STRANGE, PLAIN, STRANGE, PLAIN, base_offset=40) + batch(PLAIN, base_offset=44)
    for start in range(40, 45):
        assert [offset for offset, _ in values(fetched(data, start))] == list(range(start, 45))


def test_only_a_batch_that_aiokafka_rejects_is_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    parse = EscapingBatch._read_msg

    def noted(self: EscapingBatch) -> Any:
        parsed.append(self.base_offset)
        return parse(self)

    monkeypatch.setattr(EscapingBatch, "_read_msg", noted)
    kinds = [PLAIN, STRANGE, PLAIN, PLAIN, STRANGE, PLAIN]
    assert len(values(fetched(b"".join(batch(kind, base_offset=at) for at, kind in enumerate(kinds))))) == len(kinds)
    assert parsed == [1, 4]


def test_aborted_transactions_and_markers_are_skipped() -> None:
    data = (
        batch(STRANGE, PLAIN, base_offset=0, attributes=TRANSACTIONAL, producer_id=7)
        + batch(STRANGE, PLAIN, base_offset=2)
        + batch(STRANGE, base_offset=4, attributes=TRANSACTIONAL, producer_id=8)
        + batch(STRANGE, base_offset=5, attributes=TRANSACTIONAL, producer_id=7)
        + batch(ABORT_MARKER, base_offset=6, attributes=TRANSACTIONAL | CONTROL, producer_id=7)
        + batch(STRANGE, base_offset=7, attributes=TRANSACTIONAL, producer_id=7)
        + batch(ABORT_MARKER, base_offset=8, attributes=TRANSACTIONAL | CONTROL, producer_id=7)
    )
    records = fetched(data, aborted=[(7, 0)], isolation=fetcher.READ_COMMITTED)
    assert [offset for offset, _ in values(records)] == [2, 3, 4, 7]
    assert records.next_fetch_offset == 9


def test_a_batch_with_a_wrong_checksum_is_still_refused() -> None:
    broken = bytearray(batch(STRANGE))
    broken[-1] ^= 1
    records = fetched(batch(PLAIN) + batch(STRANGE, base_offset=1) + bytes(broken))
    assert values([next(records), next(records)]) == [(0, b"plain"), (1, b"strange")]
    with pytest.raises(CorruptRecordException, match="Invalid CRC"):
        next(records)


def test_an_invalid_batch_is_still_refused() -> None:
    records = fetched(batch(STRANGE) + batch(PLAIN, base_offset=1) + bytes(12))
    assert values([next(records), next(records)]) == [(0, b"strange"), (1, b"plain")]
    with pytest.raises(CorruptRecordException, match="less than the minimum"):
        next(records)


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_an_invalid_record_is_still_refused(cut: int) -> None:
    whole = batch(STRANGE)
    short = bytearray(whole[:-cut])
    short[8:12] = (len(short) - 12).to_bytes(4, "big")
    with pytest.raises(CorruptRecordException):
        list(EscapingBatch(short))


def test_a_header_without_a_name_is_still_refused() -> None:
    with pytest.raises(CorruptRecordException, match="without a name"):
        list(fetched(batch(Written(headers=[(None, b"1")]))))


def test_unknown_attributes_of_a_record_are_ignored() -> None:
    (record,) = fetched(batch(Written(b"body", headers=[(b"n", b"1")], attributes=0xFF)))
    assert (record.offset, record.key, record.value, record.headers) == (0, b"sub-1", b"body", (("n", b"1"),))


@pytest.mark.parametrize("attributes", [0, LOG_APPEND_TIME])
@pytest.mark.parametrize("codec", ENCODERS)
def test_both_parsers_agree_on_batches_that_both_can_read(codec: str, attributes: int) -> None:
    data = batch(
        Written(None, None),
        Written(b"", b"", timestamp_delta=-3_000_000_000),
        Written(b"v" * 3000, b"\xff", [("é".encode(), b"\xff"), (b"", b""), (b"n" * 300, None)], timestamp_delta=70),
        Written(b"v", headers=[(b"same", b"1"), (b"same", b"2")]),
        codec=codec,
        base_offset=5_000_000_000,
        attributes=attributes,
    )

    def facts(batch_of: Any) -> list[tuple[Any, ...]]:
        names = ("offset", "timestamp", "timestamp_type", "key", "value", "headers", "checksum")
        return [tuple(getattr(record, name) for name in names) for record in batch_of]

    found = facts(EscapingBatch(data))
    assert len(found) == 4
    assert found == facts(DefaultRecordBatch(data))


# ------------------------------------------------------------------- unwanted records


def of(*keys: bytes | None) -> list[Written]:
    return [Written(b"v", key) for key in keys]


def sieve_for(*keys: bytes) -> Sieve:
    sieve = Sieve()
    sieve.keys = frozenset(keys)
    return sieve


def test_only_wanted_keys_and_the_last_record_pass_the_sieve() -> None:
    data = batch(*of(b"a", b"b", b"a", b"c"), base_offset=10) + batch(*of(b"b", b"c", b"c"), base_offset=14)
    records = fetched(data, 10, sieve=sieve_for(b"b"))
    assert [record.offset for record in records] == [11, 13, 14, 16]
    assert records.next_fetch_offset == 17


def test_a_wanted_last_record_is_passed_only_once() -> None:
    assert [record.offset for record in fetched(batch(*of(b"a", b"c", b"b")), sieve=sieve_for(b"b"))] == [2]


def test_the_sieve_passes_one_of_many_skipped_records() -> None:
    records = list(fetched(batch(*of(*[b"a"] * 200, b"b")), sieve=sieve_for(b"b")))
    assert [record.offset for record in records] == [63, 127, 191, 200]


def test_an_empty_key_finds_records_without_a_key() -> None:
    assert [record.offset for record in fetched(batch(*of(None, b"a", b"", b"b")), sieve=sieve_for(b"", b"b"))] == [
        0,
        2,
        3,
    ]


def test_without_wanted_keys_all_records_are_returned() -> None:
    assert len(list(fetched(batch(*of(b"a", b"b", None)), sieve=Sieve()))) == 3


def test_the_wanted_keys_may_change_within_a_batch() -> None:
    sieve = sieve_for(b"a")
    records = fetched(batch(*of(b"a", b"b", b"a", b"b", b"b", b"a")), sieve=sieve)
    assert [next(records).offset, next(records).offset] == [0, 2]
    sieve.keys = frozenset({b"b"})
    assert [record.offset for record in records] == [3, 4, 5]


@pytest.mark.parametrize("codec", ENCODERS)
def test_a_sieved_batch_that_is_parsed_again_repeats_no_record(codec: str) -> None:
    kinds = [*of(b"a", b"b", b"a"), Written(b"strange", b"b", [(b"x-\xff", b"2")]), *of(b"a", b"b")]
    records = list(fetched(batch(*kinds, codec=codec), sieve=sieve_for(b"b")))
    wanted = [record.offset for record in records if record.key == b"b"]
    assert wanted == [1, 3, 5]
    assert len({record.offset for record in records}) == len(records)


def test_a_sieve_skips_markers_and_aborted_transactions() -> None:
    data = (
        batch(*of(b"a", b"b"), base_offset=0, attributes=TRANSACTIONAL, producer_id=7)
        + batch(ABORT_MARKER, base_offset=2, attributes=TRANSACTIONAL | CONTROL, producer_id=7)
        + batch(*of(b"b", b"a"), base_offset=3)
    )
    records = fetched(data, aborted=[(7, 0)], isolation=fetcher.READ_COMMITTED, sieve=sieve_for(b"b"))
    assert [record.offset for record in records] == [3, 4]
    assert records.next_fetch_offset == 5
