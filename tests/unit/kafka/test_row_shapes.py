"""The forms of a cursor row: the current form and earlier ones can be read."""

import json
from dataclasses import replace

import pytest

from pipeline.core.attempts import Attempts, FailedAttempt, Probes
from pipeline.core.model import Cause, Cursor, Status, UnreadableRow
from pipeline.kafka.row_format import LONGEST_ROW, decode, encode, read_row

RETRYING = Cursor(
    next=7,
    attempt=2,
    first_attempt_at=1_770_000_000.0,
    not_before=1_770_000_020.5,
    revision=3,
    error=FailedAttempt("the callback answered 503", 1_770_000_001.5, 503),
    event_ms=1_769_999_999_500,
)
CAUSE = Cause("exception", "no answer within 10 s", 7, 9.5, Attempts(4, 1.5, None))
FAILED = Cursor(next=7, status=Status.FAILURE, cause=CAUSE, revision=3)


PROBED = replace(FAILED, cause=replace(CAUSE, probes=Probes(3, 1_770_000_000.5)))


@pytest.mark.parametrize("row", [RETRYING, FAILED, PROBED, Cursor(next=0)])
def test_a_row_is_read_as_it_was_written(row: Cursor) -> None:
    found = decode(encode(row))

    assert found == row
    assert (found.error, found.event_ms) == (row.error, row.event_ms), "equal rows may differ in these fields"


def test_rows_of_earlier_versions_are_read() -> None:
    retrying = {"next": 7, "status": "started", "revision": 3, "attempt": 2, "firstAttemptAt": 1.5, "notBefore": 2.5}
    cause = {"kind": "exception", "message": "no answer within 10 s", "offset": 7, "at": 9.5}
    failed = {"next": 7, "status": "failure", "revision": 3, "cause": cause}

    assert decode(json.dumps(retrying).encode()) == Cursor(
        next=7, attempt=2, first_attempt_at=1.5, not_before=2.5, revision=3
    )
    assert decode(json.dumps(failed).encode()).cause == Cause("exception", "no answer within 10 s", 7, 9.5)


def test_an_earlier_version_finds_its_fields_in_a_row() -> None:
    row = json.loads(encode(FAILED))

    assert {name: row["cause"][name] for name in ("kind", "message", "offset", "at")} == {
        "kind": "exception",
        "message": "no answer within 10 s",
        "offset": 7,
        "at": 9.5,
    }


def test_a_row_is_not_written_for_a_new_error_or_timestamp() -> None:
    """A row is written again when it differs from the last row. These fields do not count as a difference."""
    assert replace(RETRYING, error=None, event_ms=None) == RETRYING


@pytest.mark.parametrize(
    "field",
    [
        {"error": 1},
        {"error": {"message": "x"}},
        {"error": {"message": "x", "at": "never"}},
        {"cause": {"kind": "x", "message": "x", "offset": 1, "at": 1.0, "attempts": {"count": "many", "since": 1.0}}},
        {"cause": {"kind": "x", "message": "x", "offset": 1, "at": 1.0, "attempts": 3}},
        {"cause": {"kind": "x", "message": "x", "offset": 1, "at": 1.0, "probes": {"made": -1}}},
    ],
    ids=str,
)
def test_an_invalid_row_is_a_value_error(field: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^its \w+ is not "):
        decode(json.dumps({"next": 7, "status": "started", "revision": 3, **field}).encode())


GARBAGE: dict[bytes, int | None] = {
    b'{"next":1e400}': None,
    b'{"next":1e400,"status":"started"}': None,
    b'{"next":-5,"status":"started"}': None,
    b'{"next":100000000000000000000,"status":"started"}': None,
    b'{"next":true,"status":"started"}': None,
    b'{"next":7.0,"status":"started"}': None,
    b'{"next":"7","status":"started"}': None,
    b'{"cause":{"message":["x"],"at":"never"}}': None,
    b"[" * 50_000: None,
    b'{"next":7,"a":' * 50_000: None,
    b'{"next":' + b"9" * 5000 + b"}": None,
    b"\xff\xfe": None,
    b"null": None,
    b'{"next":7,"status":"started","x":"' + b"x" * LONGEST_ROW + b'"}': None,
    b'{"next":7}': 7,
    b'{"next":7,"status":"gone"}': 7,
    b'{"next":7,"status":["started"]}': 7,
    b'{"next":7,"status":"failure","cause":{"message":["x"],"at":"never"}}': 7,
    b'{"next":7,"status":"failure","cause":{"kind":"x","message":"x","offset":1,"at":1e300}}': 7,
    b'{"next":7,"status":"failure","cause":{"kind":"x","message":"x","offset":-1,"at":1}}': 7,
    b'{"next":7,"status":"failure","cause":[]}': 7,
    b'{"next":7,"status":"started","attempt":1e400}': 7,
    b'{"next":7,"status":"started","attempt":1,"notBefore":NaN}': 7,
    b'{"next":7,"status":"started","attempt":1,"notBefore":Infinity}': 7,
    b'{"next":7,"status":"started","attempt":1,"firstAttemptAt":"never"}': 7,
    b'{"next":7,"status":"started","attempt":1,"error":{"message":1,"at":1}}': 7,
    b'{"next":7,"status":"started","revision":1e400}': 7,
    b'{"next":7,"status":"started","eventMs":[]}': 7,
}
"""Invalid values, which anyone may have written, and the position that can be read nevertheless."""


@pytest.mark.parametrize("value", GARBAGE, ids=lambda value: repr(value[:60]))
def test_garbage_is_recognised_and_its_problem_described(value: bytes) -> None:
    row = read_row(value)

    assert isinstance(row, UnreadableRow)
    assert row.next == GARBAGE[value]
    assert row.reason.startswith(("it is not ", "it has ", "its "))
    assert len(row.reason) < 120
