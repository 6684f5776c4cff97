"""Which lane a row of `<app>.cursors` belongs to when a definition gains and loses topics."""

from pipeline.core.model import Cursor, Row, UnreadableRow
from pipeline.kafka.row_keys import KEEP_ALIVE_KEY, SOURCE_KEY, RowKeys, split_key

ORDERS, PAYMENTS = "O" * 22, "P" * 22
ALONE = RowKeys("orders", is_alone=True)
ONE = RowKeys("orders", is_alone=False)
OTHER = RowKeys("payments", is_alone=False)


def row(topic_id: str | None = ORDERS, offset: int = 7) -> Cursor:
    return Cursor(offset, topic_id=topic_id)


def test_with_one_topic_the_key_of_a_row_is_the_subscription() -> None:
    assert ALONE.of(b"s") == b"s"
    rows: dict[bytes, Row] = {b"s": row(), b"t": row(None), b"u": UnreadableRow("it is not JSON")}
    assert ALONE.find(rows, {SOURCE_KEY: ORDERS}, ORDERS) == (rows, set(), ORDERS)
    assert ALONE.find(rows, {}, None).rows == rows


def test_several_topics_have_separate_rows() -> None:
    rows = {ONE.of(b"s"): row(offset=1), OTHER.of(b"s"): row(PAYMENTS, 2)}
    topic_ids = {ONE.of(SOURCE_KEY): ORDERS, OTHER.of(SOURCE_KEY): PAYMENTS}
    assert ONE.find(rows, topic_ids, ORDERS) == ({b"s": row(offset=1)}, set(), ORDERS)
    assert OTHER.find(rows, topic_ids, PAYMENTS) == ({b"s": row(PAYMENTS, 2)}, set(), PAYMENTS)


def test_a_topic_keeps_its_rows_when_another_is_added() -> None:
    broken = UnreadableRow("it is not JSON")
    rows: dict[bytes, Row] = {b"s": row(), b"t": row(None), b"u": broken}
    topic_ids = {SOURCE_KEY: ORDERS}
    assert ONE.find(rows, topic_ids, ORDERS) == (rows, {b"s", b"t", b"u"}, ORDERS)
    assert OTHER.find(rows, topic_ids, PAYMENTS) == ({}, set(), None)


def test_the_newer_of_two_rows_of_a_lane_counts() -> None:
    found = ONE.find({b"s": row(offset=7), ONE.of(b"s"): row(offset=9)}, {SOURCE_KEY: ORDERS}, ORDERS)
    assert found.rows == {b"s": row(offset=9)}


def test_rows_are_found_after_other_topics_were_removed() -> None:
    rows = {b"s": row(ORDERS), OTHER.of(b"s"): row(PAYMENTS, 2), OTHER.of(b"t"): row(PAYMENTS, 3)}
    topic_ids = {SOURCE_KEY: ORDERS, OTHER.of(SOURCE_KEY): PAYMENTS}
    alone = RowKeys("payments", is_alone=True)
    assert alone.find(rows, topic_ids, PAYMENTS) == (
        {b"s": row(PAYMENTS, 2), b"t": row(PAYMENTS, 3)},
        {b"s", b"t"},
        PAYMENTS,
    )
    later = {b"s": row(ORDERS), b"t": row(PAYMENTS, 3)}
    assert alone.find(later, {SOURCE_KEY: PAYMENTS}, PAYMENTS).rows == {b"t": row(PAYMENTS, 3)}


def test_rows_are_found_after_their_topic_was_recreated() -> None:
    assert ALONE.find({b"s": row("A" * 22)}, {SOURCE_KEY: "A" * 22}, ORDERS).rows == {b"s": row("A" * 22)}
    prefixed = {ONE.of(b"s"): row("A" * 22)}
    assert ONE.find(prefixed, {ONE.of(SOURCE_KEY): "A" * 22}, ORDERS) == ({b"s": row("A" * 22)}, set(), "A" * 22)


def test_a_key_contains_topic_and_subscription() -> None:
    topics = ("orders", "payments")
    assert split_key(b"s", topics) == ("orders", b"s")
    assert split_key(OTHER.of(b"a/s"), topics) == ("payments", b"a/s")
    assert split_key(RowKeys("gone", is_alone=False).of(b"s"), topics) is None
    assert [split_key(key, topics) for key in (KEEP_ALIVE_KEY, SOURCE_KEY, ONE.of(SOURCE_KEY))] == [None] * 3
