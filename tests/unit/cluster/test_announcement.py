"""Encoding and decoding of announcements. The topic may contain anything."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cluster.announcement import (
    LONGEST,
    MOST_DEAD_LETTER_RUNS,
    MOST_LANES,
    AnnouncedLane,
    Announcement,
    decode,
    encode,
)
from pipeline.cluster.state import PartitionState
from pipeline.core.attempts import DeadLetterRun, FailedAttempt
from pipeline.core.rate_limit import SlowStart

whole = st.integers(0, 2**63 - 1)
moments = st.floats(0, 4e9)
rounded = st.integers(0, 4_000_000_000).map(float)
texts = st.text(max_size=20)
partitions = st.builds(
    PartitionState,
    topic=texts,
    partition=whole,
    committed=st.none() | whole,
    opened_at=whole,
    dispatched=whole,
    counted_to=whole,
    is_counted=st.booleans(),
    end=st.none() | whole,
)
errors = st.builds(FailedAttempt, message=texts, at=moments, status=st.none() | st.integers(100, 599))
announced = st.builds(
    AnnouncedLane,
    subscription=texts,
    topic=texts,
    partition=whole,
    next=whole,
    waiting=whole,
    attempts=whole,
    failing_since=st.none() | moments,
    next_try_at=st.none() | moments,
    error=st.none() | errors,
    oldest_event_at=st.none() | moments,
)
announcements = st.builds(
    Announcement,
    worker=st.just("w:1"),
    version=texts,
    started_at=moments,
    at=moments,
    ready=st.booleans(),
    problem=st.none() | texts,
    partitions=st.lists(partitions, max_size=3).map(tuple),
    counts=st.dictionaries(texts, whole, max_size=3),
    delivered_per_second=rounded,
    failed_per_second=rounded,
    queued=whole,
    in_flight=whole,
    warnings=st.lists(texts, max_size=3).map(tuple),
    lanes=st.lists(announced, max_size=3).map(tuple),
    lanes_left_out=whole,
    successes=st.dictionaries(texts, rounded, max_size=3),
    dead_letter_runs=st.dictionaries(
        texts,
        st.builds(DeadLetterRun, count=whole, since=rounded, at=rounded, message=texts, revision=st.none() | whole),
        max_size=3,
    ),
    slow_starts=st.dictionaries(
        texts, st.builds(SlowStart, revision=whole, per_second=st.none() | rounded, until=rounded), max_size=3
    ),
)
PLAIN = Announcement("w:1", "1.0", 1.0, 2.0, True, None, (), {}, 0.0, 0.0, 0, 0, successes={})  # noqa: FBT003 - ready


@given(announcements)
def test_an_announcement_is_read_as_it_was_written(said: Announcement) -> None:
    assert decode("w:1", encode(said)) == said


def changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(encode(PLAIN)) | fields).encode()


def test_an_announcement_of_an_earlier_build_is_read() -> None:
    value = json.loads(encode(PLAIN))
    del value["deadLetterRuns"]
    assert decode("w:1", json.dumps(value).encode()) == PLAIN


def test_fields_of_a_newer_worker_are_ignored() -> None:
    assert decode("w:1", changed(later=True, version=9)) == PLAIN


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b" " * (LONGEST + 1),
        changed(at="now"),
        changed(at=-1),
        changed(at=1e300),
        changed(queued=True),
        changed(queued=2**64),
        changed(lanes={}),
        changed(software=None),
        changed(counts=[]),
    ],
    ids=lambda value: repr(value[:12]),
)
def test_an_invalid_announcement_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it (has \d+ bytes|is not)|^its \w+ is not"):
        decode("w:1", value)


@given(st.lists(st.recursive(st.none() | st.booleans() | whole | texts, st.lists, max_leaves=4), max_size=4))
def test_only_invalid_lanes_are_left_out_of_an_announcement(junk: list[object]) -> None:
    lane = AnnouncedLane("s", "t", 0, 1, 2)
    [good] = json.loads(encode(replace(PLAIN, lanes=(lane,))))["lanes"]
    slow = {**{str(number): value for number, value in enumerate(junk)}, "s": [4, 2.0, 60.0]}
    runs = {**slow, "s": [3, 40.0, 60.0, "401"]}
    partitions = [*junk, ["t", 0, True, None, 1, 2, 3, None]]
    said = decode("w:1", changed(lanes=[*junk, good], partitions=partitions, slowStarts=slow, deadLetterRuns=runs))
    assert said.slow_starts["s"] == SlowStart(4, 2.0, 60.0)
    assert said.dead_letter_runs["s"] == DeadLetterRun(3, 40.0, 60.0, "401")
    assert said.lanes == (lane,)
    assert said.partitions == (PartitionState("t", 0, None, 1, 2, 3, is_counted=True, end=None),)


def test_lanes_beyond_the_maximum_are_not_read() -> None:
    [lane] = json.loads(encode(replace(PLAIN, lanes=(AnnouncedLane("s", "t", 0, 1, 2),))))["lanes"]
    assert len(decode("w:1", changed(lanes=[lane] * (MOST_LANES + 1))).lanes) == MOST_LANES


def test_runs_of_dead_letters_add_little_to_an_announcement() -> None:
    runs = {f"{number:0>64}": DeadLetterRun(9, 1e9, 2e9, "x" * 999) for number in range(MOST_DEAD_LETTER_RUNS)}
    assert len(encode(replace(PLAIN, dead_letter_runs=runs))) < 30_000
