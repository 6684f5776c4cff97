"""The encoding of cursor rows, and the pace of transactions."""

import json
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import ConcurrentTransactions, CoordinatorLoadInProgressError, KafkaError, NoError
from aiokafka.producer import sender
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.model import Cause, Cursor, Standing, Status
from pipeline.kafka.internals import BeginSoon
from pipeline.kafka.row_format import decode, encode

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
def test_a_row_is_decoded_as_it_was_encoded(cursor: Cursor) -> None:
    assert decode(encode(cursor)) == cursor


def test_unknown_fields_of_a_newer_row_are_ignored() -> None:
    row = json.loads(encode(Cursor(next=41))) | {"later": True}
    assert decode(json.dumps(row).encode()) == Cursor(next=41)


@pytest.mark.parametrize("value", [b"", b"[]", b"1", b"{}", b'{"next":1}', b'{"next":"x","status":"started"}', b"\xff"])
def test_an_invalid_row_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"^it is not JSON|^it is not a JSON object|^its \w+ is "):
        decode(value)


def test_the_patch_for_beginning_transactions_is_installed() -> None:
    assert sender.AddPartitionsToTxnHandler is BeginSoon


def test_a_transaction_begins_once_the_previous_one_has_ended() -> None:
    began: list[TopicPartition] = []
    manager = SimpleNamespace(txn_partitions=set(), partition_added=began.append)
    producer = SimpleNamespace(_retry_backoff=0.1, _txn_manager=manager)

    def answered(error: type[KafkaError]) -> float | None:
        # aiokafka makes a handler for each attempt.
        handler = sender.AddPartitionsToTxnHandler(producer, [TopicPartition("cursors", 0)])
        pause: float | None = handler.handle_response(SimpleNamespace(errors=[("cursors", [(0, error.errno)])]))
        return pause

    for _ in range(2):
        pauses = [answered(ConcurrentTransactions) for _ in range(8)]
        assert pauses == [0.003, 0.006, 0.012, 0.024, 0.048, 0.096, 0.1, 0.1]
        assert {answered(ConcurrentTransactions) for _ in range(2000)} == {0.1}  # an outage of minutes
        assert answered(NoError) is None
    assert len(began) == 2
    assert answered(CoordinatorLoadInProgressError) == 0.1


standings = st.builds(
    Standing,
    is_live=st.booleans(),
    waiting_at_most=offsets,
    waiting_is_exact=st.booleans(),
    dispatched=offsets,
    last_success_at=st.none() | moments,
)


@given(st.none() | standings)
def test_a_row_contains_the_standing_of_its_lane(standing: Standing | None) -> None:
    assert decode(encode(Cursor(7, standing=standing))).standing == standing


@pytest.mark.parametrize("lane", ['"x"', '{"dispatched":1}', '{"waitingAtMost":-1,"dispatched":1}'])
def test_a_row_with_an_invalid_standing_is_refused(lane: str) -> None:
    with pytest.raises(ValueError, match=r"^its (lane|waitingAtMost) is "):
        decode(b'{"next":7,"status":"started","lane":%s}' % lane.encode())


def test_a_row_contains_the_id_of_its_topic() -> None:
    assert decode(encode(Cursor(7, topic_id="a"))).topic_id == "a"
    assert decode(b'{"next": 7, "status": "started"}').topic_id is None
    assert "topicId" not in json.loads(encode(Cursor(7)))
