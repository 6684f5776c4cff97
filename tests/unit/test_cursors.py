"""The coding of cursor rows, and how soon one transaction follows another."""

import json
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ConcurrentTransactions
from aiokafka.producer.sender import AddPartitionsToTxnHandler
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cursors import MARKER_PAUSE_SECONDS, decode, encode
from pipeline.model import Cause, Cursor, Status

offsets = st.integers(min_value=0, max_value=2**63 - 1)
moments = st.floats(min_value=0, max_value=4e9)
causes = st.builds(
    Cause, kind=st.sampled_from(["rejected", "token"]), message=st.text(), offset=st.none() | offsets, at=moments
)
tried = st.builds(
    Cursor,
    next=offsets,
    status=st.sampled_from(Status),
    cause=st.none() | causes,
    attempt=st.integers(1, 1000),
    first_attempt_at=moments,
    not_before=moments,
    revision=st.integers(-1, 2**63 - 1),
)
untried = st.builds(
    Cursor, next=offsets, status=st.sampled_from(Status), cause=st.none() | causes, revision=st.integers(-1, 2**63 - 1)
)


@given(tried | untried)
def test_a_row_reads_back_as_it_was_written(cursor: Cursor) -> None:
    assert decode(encode(cursor)) == cursor


def test_a_row_of_a_newer_version_is_read_without_what_is_new() -> None:
    row = json.loads(encode(Cursor(next=41))) | {"later": True}
    assert decode(json.dumps(row).encode()) == Cursor(next=41)


@pytest.mark.parametrize("value", [b"", b"[]", b"1", b"{}", b'{"next":1}', b'{"next":"x","status":"started"}', b"\xff"])
def test_what_is_no_row_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="not a cursor row"):
        decode(value)


def test_a_transaction_is_begun_as_soon_as_the_last_one_has_ended() -> None:
    manager = SimpleNamespace(txn_partitions=set())
    handler = AddPartitionsToTxnHandler(
        SimpleNamespace(_retry_backoff=0.1, _txn_manager=manager), [TopicPartition("cursors", 0)]
    )
    still_ending = SimpleNamespace(errors=[("cursors", [(0, ConcurrentTransactions.errno)])])
    assert handler.handle_response(still_ending) == MARKER_PAUSE_SECONDS
