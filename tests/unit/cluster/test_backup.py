"""The file of a backup, and how its state is adapted to another topic of subscriptions."""

import json
import re

import pytest

from pipeline.cluster.backup import Backup, as_lines, read_lines
from pipeline.cluster.restore import Restore
from pipeline.cluster.restoring import Renumbering, begun, by_creation, renumbered, without_creation
from pipeline.core.errors import ConfigurationError
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.kept_state import Commit, Kept, KeptState
from pipeline.kafka.topics import Source

STATE = KeptState(
    subscriptions=[Kept(b"a", 0, 7, b'{"id":"a\xe2\x80\xa8","createdRevision":3}'), Kept(b"b", 0, 9, b"\xff broken")],
    rows=[Kept(b"\xffsource-topic", 1, -1, b"A" * 22), Kept(b"a", 1, -1, b'{"next":4,"revision":7}')],
    commits={("events", 1): Commit(12, "topic-id=x;begun-to=8")},
    topic_ids={"events": "x"},
)
LINES = tuple(as_lines(STATE, app="orders", made_at="2026-11-27T12:00:00Z", program="1.2.3"))


def test_a_backup_is_read_as_it_was_written() -> None:
    backup = read_lines("".join(f"{line}\n" for line in LINES).removesuffix("\n").split("\n"))
    assert (backup.app, backup.made_at, backup.state) == ("orders", "2026-11-27T12:00:00Z", STATE)


def test_fields_of_a_later_version_are_ignored() -> None:
    later = [json.dumps({**json.loads(line), "unknown": 1}) for line in LINES]
    assert read_lines(later).state == STATE


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (LINES[:-1], "no last line"),
        ((), "no last line"),
        (LINES[1:], 'line 1: kind: must be "backup" in the first line'),
        ((*LINES[:2], *LINES[3:]), "line 6: lines: 6 were written, but the file has 5"),
        ((*LINES, LINES[1]), "line 8: comes after the end"),
        ((LINES[0].replace('"version":1', '"version":2'),), "line 1: version: 2 is newer than 1"),
        ((LINES[0], "{}"), "line 2: kind: is required"),
        ((LINES[0], "nonsense"), "line 2: is not JSON"),
        ((LINES[0], "[]"), "line 2: is not a JSON object"),
        ((LINES[0], '{"kind": "secret"}'), 'line 2: kind: "secret" is not allowed; allowed: backup, commit'),
        ((LINES[0], '{"kind": "row", "key": {"base64": "?"}}'), "line 2: key: must be a string or"),
        (
            (LINES[0], '{"kind": "commit", "topic": "t", "partition": -1}'),
            "line 2: partition: must be a whole",
        ),
    ],
)
def test_an_incomplete_backup_is_refused(lines: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(problem)):
        read_lines(lines)


def row(revision: object) -> Kept:
    return Kept(b"a", 0, -1, json.dumps({"next": 4, "revision": revision}).encode())


@pytest.mark.parametrize(
    ("revision", "then"),
    [(7, 1), (6, 0), (3, 0), (2, 0), (1, None), (True, True), (None, None)],
    ids=["carried out", "an older one", "the first", "before the first", "of a former one", "no number", "none"],
)
def test_a_restored_row_refers_to_the_new_revision(revision: object, then: object) -> None:
    found = renumbered(row(revision), ["events"], {b"a": Renumbering(first=3, old=7, new=1, has_start=True)})
    if revision == 1 and revision is not True:
        assert found is None, "its subscription was deleted and made again"
    else:
        assert json.loads(found or b"null")["revision"] == then


def test_a_row_without_a_known_subscription_is_unchanged() -> None:
    kept = renumbered(row(1), ["events"], {b"a": Renumbering(first=7, old=7, new=1, has_start=False)})
    assert json.loads(kept or b"null")["revision"] == 0, "with routing: key, no record contains the creation"
    for each in (STATE.rows[0], Kept(b"other", 0, -1, b'{"revision":5}'), Kept(b"a", 0, -1, b"broken")):
        assert renumbered(each, ["events"], {b"a": Renumbering(3, 7, 1, has_start=True)}) == each.value


@pytest.mark.parametrize(
    ("members", "problems"),
    [
        (0, []),
        (2, ['group "orders" still has members: stop the workers']),
        (None, ['the members of group "orders" can\'t be seen, so it may still have some: stop the workers']),
    ],
)
def test_a_restore_needs_a_group_without_members(members: int | None, problems: list[str]) -> None:
    backup = Backup("orders", "2026-11-27T12:00:00Z", KeptState())
    source = Source(KafkaConnection(("k:9092",)), "events")
    found = Restore(backup, KeptState(members=members), "orders", source)
    assert found.problems(lambda _: None, replaces=False) == problems


def test_begun_to_is_translated_to_the_restored_revisions() -> None:
    known = [
        Renumbering(3, 7, 0, has_start=True),
        Renumbering(8, 8, 1, has_start=True),
        Renumbering(9, 9, 2, has_start=True),
    ]
    notes = "settled=1:x;topic-id=y;begun-to="
    found = [begun(Commit(1, f"{notes}{number}"), known).metadata for number in (0, 8, 9, 10)]
    assert found == [f"{notes}{number}" for number in (0, 1, 2, 3)]
    assert begun(Commit(1, "topic-id=y"), known).metadata == "topic-id=y"
    assert begun(Commit(1, "begun-to=5"), []).metadata == "begun-to=0"


def test_subscriptions_are_written_in_order_of_creation() -> None:
    assert by_creation([Kept(b"b", 0, 4, b"{}"), STATE.subscriptions[0]]) == [
        STATE.subscriptions[0],
        Kept(b"b", 0, 4, b"{}"),
    ]
    assert json.loads(without_creation(STATE.subscriptions[0].value)) == {"id": "a\u2028"}
    assert without_creation(b"\xff broken") == b"\xff broken"
