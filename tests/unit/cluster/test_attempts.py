"""The format of the attempt log. Decoding handles anything that the topic may contain."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster.attempts import (
    LogMode,
    RecordedDecision,
    Result,
    Results,
    Session,
    compacted,
    decode,
    encode,
    expanded,
    key_of,
    parse_id,
)
from pipeline.core.log_bounds import LARGEST_OFFSET

names = st.text(max_size=8)
offsets = st.integers(0, LARGEST_OFFSET)
counts = st.integers(0, 10**9)
moments = st.floats(0, 4e9)
decisions = st.sampled_from(get_args(RecordedDecision))
runs = st.lists(offsets, min_size=1, max_size=5).flatmap(
    lambda found: st.tuples(st.just(compacted(found)), st.lists(counts, min_size=len(found), max_size=len(found)))
)
delivered = st.tuples(names, names, counts, counts, runs).map(lambda each: (*each[:4], *each[4]))
settled = st.tuples(st.none() | names, decisions, names, st.lists(offsets, max_size=5).map(compacted))
ranges = st.tuples(st.none() | names, decisions, names, offsets, offsets)
notes_of_events = st.builds(
    Result,
    st.none() | names,
    st.none() | offsets,
    moments,
    st.none() | decisions,
    st.none() | st.tuples(names, counts, offsets),
    *(st.none() | each for each in (names, counts, names, counts, counts, names, names, moments)),
)
records = st.builds(
    Results,
    names,
    names,
    counts,
    moments,
    st.lists(delivered, max_size=3),
    st.lists(settled, max_size=3),
    st.lists(ranges, max_size=3),
    st.lists(notes_of_events, max_size=3),
    st.lists(st.tuples(counts, offsets, offsets), max_size=2),
) | st.builds(Session, names, moments, moments, st.sampled_from(get_args(LogMode)), st.booleans())


@given(records)
def test_a_record_is_read_as_it_was_written(record: Results | Session) -> None:
    assert decode(encode(record)) == record


@given(st.lists(offsets))
def test_offsets_are_read_as_they_were_written(found: list[int]) -> None:
    assert list(expanded(compacted(found))) == found


@given(records, st.data())
def test_a_damaged_record_raises_only_value_error(record: Results | Session, data: st.DataObject) -> None:
    value = bytearray(encode(record))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(value))
    except ValueError:
        return
    if isinstance(found, Results):
        assert len(list(found.of())) < len(value)


NOTES: dict[str, Any] = {"v": 1, "kind": "notes", "worker": "w", "topic": "t", "partition": 1, "at": 1.0}


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 10_000,
        json.dumps({**NOTES, "v": 2}).encode(),
        json.dumps({**NOTES, "kind": "other"}).encode(),
        json.dumps({**NOTES, "partition": -1}).encode(),
        json.dumps({**NOTES, "partition": "1"}).encode(),
        json.dumps({**NOTES, "at": 1e300}).encode(),
        b'{"v":1,"kind":"notes","worker":"w","topic":"t","partition":1,"at":NaN}',
        json.dumps({**NOTES, "delivered": [["s", "h", 1, 200, [5, -6], [1, 1]]]}).encode(),
        json.dumps({**NOTES, "delivered": [["s", "h", 1, 200, [2**63], [1]]]}).encode(),
        json.dumps({**NOTES, "delivered": [["s", "h", 1, 200, [2**63 - 1, 1], [1, 1]]]}).encode(),
        json.dumps({**NOTES, "delivered": [["s", "h", 1, 200, [5, 6], [1]]]}).encode(),
        json.dumps({**NOTES, "delivered": [["s", "h", 1, 200, [5.5], [1]]]}).encode(),
        json.dumps({**NOTES, "settled": [["s", "won", "", [5]]]}).encode(),
        json.dumps({**NOTES, "ranges": [["s", "dropped", "x", 5]]}).encode(),
        json.dumps({**NOTES, "entries": [{"subscription": "s", "offset": 1, "at": -1}]}).encode(),
        json.dumps({**NOTES, "lost": [[1, 2]]}).encode(),
    ],
)
def test_an_invalid_record_is_refused(value: bytes | None) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        decode(value)
    assert type(refused.value) is ValueError


def test_a_later_version_may_add_fields() -> None:
    assert decode(json.dumps({**NOTES, "news": 1}).encode()) == Results("w", "t", 1, 1.0)


def test_an_event_is_found_by_offset_and_subscription() -> None:
    results = Results("w", "events", 3, 10.0)
    results.delivered = [("a", "host", 2, 204, compacted([7, 9]), [1, 2]), ("b", "host", 1, 200, compacted([9]), [3])]
    results.settled = [("c", "skipped", "skipped", [9])]
    results.entries = [Result("d", 9, 4.0, "delivered", ("events", 0, 90), attempt=1)]
    results.ranges = [("e", "dropped", "discarded", 9, 12)]

    found = {each.subscription: each for each in results.of(offset=9)}

    assert set(found) == {"a", "b", "c", "d"}
    assert {each.webhook_id for each in found.values()} == {"events-3-9"}
    assert (found["a"].result.attempt, found["a"].result.status, found["a"].result.duration_ms) == (2, 204, 2)
    assert found["d"].position == ("events", 0, 90)
    assert [each.result.offset for each in results.of("a")] == [7, 9]
    assert [each.subscription for each in results.ranges_with(12)] == ["e"]
    assert not list(results.ranges_with(13))


@given(st.text(min_size=1).filter(lambda topic: topic.isascii()), st.integers(0, 10**6), offsets)
def test_a_webhook_id_is_read_as_topic_partition_and_offset(topic: str, partition: int, offset: int) -> None:
    assert parse_id(f"{topic}-{partition}-{offset}") == (topic, partition, offset)


@pytest.mark.parametrize(
    "text",
    ["", "t", "t-1", "-1-2", "t-1-", "t-a-2", "t-1-02", "t-1-9223372036854775808", "t-1-²", f"t-1-{'9' * 5_000}"],
    ids=lambda text: text[:25],
)
def test_an_invalid_webhook_id_names_no_event(text: str) -> None:
    assert parse_id(text) is None


def test_late_events_have_a_separate_key() -> None:
    assert key_of("t", 1, is_late=False) == b"t/1"
    assert key_of("t", 1, is_late=True) == b"t/1/late"
