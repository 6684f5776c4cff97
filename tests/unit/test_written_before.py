"""Rows, records and commits of earlier builds can be read. The directory `written_before` has their bytes, by commit.

A file is kept as long as upgrades from its build are supported (docs/compatibility.md). New files must be written with
the functions of the old build, never with functions of this tree.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.ahead import unpack
from pipeline.core.attempts import Attempts, FailedAttempt
from pipeline.core.model import Cause, Cursor, Status
from pipeline.kafka.committed import Committed
from pipeline.kafka.row_format import decode, encode
from pipeline.subscriptions.record_reader import parse_record
from pipeline.subscriptions.secrets import SecretBox

FILES = sorted((Path(__file__).parent / "written_before").glob("*.json"))
TOPIC_ID = "JkkZZ4u3TbCEgJZW2EF11Q"
ROWS = {
    "moving": Cursor(17, revision=4, topic_id=TOPIC_ID),
    "retrying": Cursor(
        40,
        revision=5,
        attempt=3,
        first_attempt_at=1795779990.25,
        not_before=1795780001.0,
        error=FailedAttempt("status 503", 1795779999.5, 503),
        event_ms=1795779980123,
        topic_id=TOPIC_ID,
    ),
    "failed": Cursor(
        41,
        Status.FAILURE,
        Cause("rejected", "the callback answered 410", 41, 1795780000.5, Attempts(3, 1795779990.25, 410)),
        revision=6,
        topic_id=TOPIC_ID,
    ),
    "paused": Cursor(42, Status.PAUSED, revision=7),
}


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def written(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(request.param.read_text())
    return found


def test_rows_of_earlier_builds_have_the_same_meaning(written: dict[str, Any]) -> None:
    assert {name: decode(row.encode()) for name, row in written["rows"].items()} == ROWS


def test_earlier_builds_can_read_rows_of_this_build(written: dict[str, Any]) -> None:
    """A worker of the old build may get partitions from a worker of this build."""
    for name, row in written["rows"].items():
        assert json.loads(row).items() <= json.loads(encode(ROWS[name])).items()


def test_subscriptions_of_earlier_builds_have_the_same_meaning(written: dict[str, Any]) -> None:
    stored = parse_record("sub-1", written["subscription"].encode())
    assert (stored.created_revision, stored.start_from) == (2, "earliest")
    assert stored.start is not None
    assert stored.start["events"].offsets == [3, 0]

    options = SecretBox([written["key"]]).decrypt_secrets(stored).configuration.entrypoint_configuration

    assert options.callback_url == "https://example.com/hook?key=not-for-you"
    assert options.auth is not None
    assert options.auth.oauth2 is not None
    assert options.auth.oauth2.client_secret == "not-for-you"
    assert options.retry is not None
    assert options.retry.max_attempts == 5
    assert options.filter is not None


def test_commits_of_earlier_builds_have_the_same_meaning(written: dict[str, Any]) -> None:
    found = Committed.read(40, written["commit"])
    assert (found.offset, found.topic_id, found.begun_to) == (40, TOPIC_ID, 7)
    assert found.settled is not None
    assert unpack(found.settled, 40) == 0b1011


def test_records_of_an_earlier_build_are_available() -> None:
    assert FILES
