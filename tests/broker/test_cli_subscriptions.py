"""`webhooks subscriptions` and `webhooks send` on either kind of broker."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from pipeline.core.attempts import Attempts, FailedAttempt
from pipeline.core.model import Cause, Cursor, Status
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.cursors import KafkaRows
from tests.support.brokers import TestBroker
from tests.support.program import Webhooks, application

SECRET = "not-for-your-eyes"
ONE = {
    "id": "sub-1",
    "configuration": {
        "callbackUrl": "https://example.com/hook?key=1",
        "auth": {"type": "basic", "basic": {"username": "me", "password": SECRET}},
    },
}
TWO = {"id": "sub-2", "configuration": {"callbackUrl": "https://example.com/two"}}


@pytest.fixture
async def webhooks(broker: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]) -> Webhooks:
    """An application whose topics exist."""
    return await prepared(broker, tmp_path, unique_name("cli"))


async def without_rows(broker: TestBroker, tmp_path: Path, name: str) -> Webhooks:
    """An application with the subscription of `TWO` and one partition, whose topic of rows does not exist."""
    await broker.create_topic(f"{name}.subscriptions", 1, {"cleanup.policy": "compact"})
    source = await broker.create_topic(f"{name}-events", 1)
    webhooks = application(tmp_path, name, broker.bootstrap, source=source)
    await apply(webhooks, TWO)
    return webhooks


async def prepared(broker: TestBroker, tmp_path: Path, name: str, *, has_audit: bool = True) -> Webhooks:
    """An application of this name whose topics exist."""
    if has_audit:
        await broker.create_topic(f"{name}.audit", 1)
    await broker.create_topic(f"{name}.subscriptions", 1, {"cleanup.policy": "compact"})
    await broker.create_topic(f"{name}.cursors", 3, {"cleanup.policy": "compact"})
    source = await broker.create_topic(f"{name}-events", 3)
    return application(tmp_path, name, broker.bootstrap, source=source)


def source_of(webhooks: Webhooks) -> str:
    """The name of the application's source topic."""
    return f"{webhooks.environment['WEBHOOKS_APP']}-events"


async def apply(webhooks: Webhooks, *documents: object) -> str:
    return await webhooks.done("subscriptions", "apply", "-f", "-", stdin=json.dumps(list(documents)).encode())


async def test_a_missing_topic_is_reported_with_a_command_to_create_it(
    broker: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("cli")
    webhooks = application(tmp_path, name, broker.bootstrap, source=await broker.create_topic(f"{name}-events", 1))

    ended = await webhooks.run("subscriptions", "list")

    assert (ended.code, ended.out) == (1, "")
    assert f"topic {name}.subscriptions: does not exist on {broker.bootstrap}" in ended.err
    assert ended.err.endswith("; webhooks check names each missing topic, and creates the pipeline's own topics\n")


async def test_apply_creates_or_updates_or_changes_nothing(webhooks: Webhooks, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps(ONE))
    (tmp_path / "both.yaml").write_text(f"--- {json.dumps(ONE)}\n--- {json.dumps({**TWO, 'qos': 'none'})}\n")
    first, both = str(tmp_path / "one.json"), str(tmp_path / "both.yaml")

    assert await webhooks.done("subscriptions", "apply", "-f", first) == "sub-1 created, revision 0\n"
    assert await webhooks.done("subscriptions", "apply", first, both) == (
        "sub-1 unchanged, revision 0\nsub-1 unchanged, revision 0\nsub-2 created, revision 1\n"
    )
    assert await apply(webhooks, TWO) == "sub-2 updated, revision 2\n"


async def test_a_subscription_too_large_for_a_record_is_refused(webhooks: Webhooks) -> None:
    stdin = json.dumps({**TWO, "metadata": {"notes": "x" * 1_200_000}}).encode()

    ended = await webhooks.run("subscriptions", "apply", "-f", "-", stdin=stdin)

    assert (ended.code, ended.out) == (1, "")
    assert re.search(
        r"subscription sub-2 was not written: it has 1,200,\d{3} bytes; allowed: at most 1,048,576, "
        r"and at most max\.message\.bytes of the topic",
        ended.err,
    )


async def test_a_mistake_in_one_document_prevents_all_writes(webhooks: Webhooks) -> None:
    wrong = {"id": "sub-1", "configuration": {"callbackURL": "https://example.com"}}
    stdin = json.dumps([TWO, wrong, {"configuration": {}}]).encode()

    ended = await webhooks.run("subscriptions", "apply", "-f", "-", stdin=stdin)

    assert (ended.code, ended.out) == (1, "")
    assert "-: sub-1: configuration.callbackURL: unknown field" in ended.err
    assert "-: document 3: id: is required" in ended.err
    assert ended.err.endswith("none of the 3 subscriptions was written\n")
    assert json.loads(await webhooks.done("subscriptions", "list", "--output", "json")) == []


async def test_a_subscription_is_deleted_after_confirmation(webhooks: Webhooks) -> None:
    await apply(webhooks, ONE, TWO)

    refused = await webhooks.run("subscriptions", "delete", "sub-1", stdin=b"n\n")
    unanswered = await webhooks.run("subscriptions", "delete", "sub-1")
    unknown = await webhooks.run("subscriptions", "delete", "nobody")
    assert (unknown.code, unknown.out, unknown.err) == (1, "", 'Error: there is no subscription "nobody"\n')
    confirmed = await webhooks.run("subscriptions", "delete", "sub-1", stdin=b"y\n")

    assert [refused.code, unanswered.code, confirmed.code] == [1, 1, 0]
    assert refused.err.startswith("Delete sub-1? Waiting and future events are dead-lettered [y/N]:")
    assert [refused.out, unanswered.out, confirmed.out] == ["", "", "sub-1 deleted, revision 2\n"]
    assert await webhooks.done("subscriptions", "delete", "sub-2", "--yes") == "sub-2 deleted, revision 3\n"


async def test_a_file_without_a_subscription_is_an_error(webhooks: Webhooks, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")

    empty = await webhooks.run("subscriptions", "apply", "-f", str(tmp_path / "empty.yaml"))
    missing = await webhooks.run("subscriptions", "apply", "-f", str(tmp_path / "missing.yaml"))

    assert (empty.code, missing.code) == (1, 1)
    assert empty.err.endswith("empty.yaml: contains no subscription\n")
    assert missing.err.endswith("missing.yaml: can't be read: No such file or directory\n")


async def test_subscriptions_are_shown_without_secrets(webhooks: Webhooks) -> None:
    await apply(webhooks, ONE, TWO)

    table = await webhooks.done("subscriptions", "list", "--wide")
    listed = await webhooks.done("subscriptions", "list", "--output", "json")
    got = await webhooks.done("subscriptions", "get", "sub-1")

    header, *rows = table.splitlines()
    assert header.split()[-5:] == ["QOS", "REVISION", "PUBLISHER", "CONSUMER", "CALLBACK"]
    assert [row.split()[0] for row in rows] == ["sub-1", "sub-2"]
    assert "key=1" not in table
    assert [document["revision"] for document in json.loads(listed)] == [0, 1]
    assert all(SECRET not in text for text in (table, listed, got))
    assert "password: '********'" in got


FAILED = Cursor(
    next=2,
    status=Status.FAILURE,
    cause=Cause("server-error", "the callback answered 503", 2, 1_770_000_000.0, Attempts(4, 1_769_999_940.0, 503)),
)
RETRYING = Cursor(
    next=1,
    attempt=2,
    first_attempt_at=1_770_000_000.0,
    not_before=1_770_000_060.0,
    error=FailedAttempt("no answer within 10 s", 1_770_000_001.0),
    event_ms=1_769_999_000_000,
)


async def note(webhooks: Webhooks, broker: TestBroker, *rows: tuple[int, str, Cursor]) -> None:
    """Write rows like the owners of partitions."""
    connection = KafkaConnection((broker.bootstrap,), embedded=broker.embedded)
    topic = f"{webhooks.environment['WEBHOOKS_APP']}.cursors"
    for partition in {partition for partition, _, _ in rows}:
        store = KafkaRows(connection, topic, partition, on_written=lambda _: None)
        await store.open()
        try:
            for each, name, row in rows:
                if each == partition:
                    await store.put(name.encode(), row)
        finally:
            await store.close()


async def test_the_list_shows_what_the_workers_have_recorded(webhooks: Webhooks, broker: TestBroker) -> None:
    topic = source_of(webhooks)
    names = ["failed", "fine", "paused", "retrying"]
    await apply(webhooks, *({**TWO, "id": name} for name in names))
    await broker.produce(source_of(webhooks), *[(b"x", b"")] * 5, partition=0)
    await note(
        webhooks,
        broker,
        (0, "failed", FAILED),
        (1, "failed", Cursor(next=0)),
        (0, "retrying", RETRYING),
        (0, "fine", Cursor(next=1)),
        (0, "fine", Cursor(next=5)),
        (2, "paused", Cursor(next=0, status=Status.PAUSED)),
        (0, "deleted", FAILED),
    )

    listed = await webhooks.run("subscriptions", "list")
    rows = {row.split()[0]: row for row in listed.out.splitlines()}
    assert rows["failed"].split()[1] == "failure"
    assert rows["failed"].endswith("  answered 503")
    # The embedded broker can't report that there is no worker.
    assert rows["retrying"].split()[1] == ("retrying" if broker.embedded else "unowned")
    assert rows["retrying"].endswith("  no answer within 10 s")
    assert "deleted" not in rows

    document = json.loads(await webhooks.done("subscriptions", "get", "failed", "--output", "json"))
    assert document["delivery"] == [
        {
            "topic": topic,
            "partition": 0,
            "status": "failure",
            "next": 2,
            "waitingAtMost": 3,
            "cause": {
                "kind": "server-error",
                "message": "the callback answered 503",
                "offset": 2,
                "at": "2026-02-02T02:40:00Z",
                "attempts": 4,
                "firstAttemptAt": "2026-02-02T02:39:00Z",
                "status": 503,
                "probes": None,
                "nextProbeAt": None,
            },
            "revision": -1,
        },
        {"topic": topic, "partition": 1, "status": "started", "next": 0, "waitingAtMost": 0, "revision": -1},
    ]
    [retrying] = json.loads(await webhooks.done("subscriptions", "get", "retrying", "--output", "json"))["delivery"]
    assert retrying["error"] == {
        "message": "no answer within 10 s",
        "at": "2026-02-02T02:40:01Z",
        "status": None,
    }
    assert (retrying["attempt"], retrying["oldestEventAt"]) == (2, "2026-02-02T02:23:20Z")
    shown = await webhooks.done("subscriptions", "get", "failed")
    assert await webhooks.done("subscriptions", "apply", "-", stdin=shown.encode()) == "failed unchanged, revision 0\n"


async def test_an_unreadable_row_hides_no_other_row(webhooks: Webhooks, broker: TestBroker) -> None:
    await apply(webhooks, {**TWO, "id": "broken"}, {**TWO, "id": "failed"})
    await note(webhooks, broker, (0, "failed", FAILED))
    await broker.produce(cursors_topic_of(webhooks), (b"broken", b"["), partition=0)

    rows = {row.split()[0]: row for row in (await webhooks.done("subscriptions", "list")).splitlines()}

    assert rows["broken"].split()[1] == "broken"
    assert "its cursor row can't be read" in rows["broken"]
    assert rows["failed"].split()[1] == "failure"


async def test_without_rows_the_desired_state_is_shown(
    broker: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("cli")
    webhooks = await without_rows(broker, tmp_path, name)

    table = await webhooks.run("subscriptions", "list")
    listed = await webhooks.run("subscriptions", "list", "--output", "json")
    document = json.loads(await webhooks.done("subscriptions", "get", "sub-2", "--output", "json"))

    assert (table.code, listed.code) == (0, 0)
    assert table.out.splitlines()[1].split()[:3:2] == ["sub-2", "?"]
    assert f"{name}.cursors" in table.err
    assert listed.err.startswith(f"delivery state unknown: the workers' rows can't be read: topic {name}.cursors: ")
    assert document["delivery"] is None


def cursors_topic_of(webhooks: Webhooks) -> str:
    """The name of the topic of the application's rows."""
    return f"{webhooks.environment['WEBHOOKS_APP']}.cursors"


async def test_the_output_of_get_can_be_applied_again(webhooks: Webhooks) -> None:
    await apply(webhooks, ONE)
    shown = await webhooks.done("subscriptions", "get", "sub-1")

    again = await webhooks.done("subscriptions", "apply", "-f", "-", stdin=shown.encode())

    assert again == "sub-1 unchanged, revision 0\n"


async def test_each_command_makes_a_new_revision(webhooks: Webhooks, broker: TestBroker) -> None:
    await apply(webhooks, ONE)
    await broker.produce(source_of(webhooks), *[(b"sub-1", b"")] * 42, partition=0)

    async def say(*words: str) -> str:
        return await webhooks.done("subscriptions", *words)

    assert await say("pause", "sub-1") == "sub-1 updated, revision 1\n"
    assert await say("pause", "sub-1") == "sub-1 unchanged, revision 1\n"
    assert await say("resume", "sub-1") == "sub-1 updated, revision 2\n"
    assert await say("stop", "sub-1") == "sub-1 updated, revision 3\n"
    assert await say("start", "sub-1") == "sub-1 updated, revision 4\n"
    assert await say("skip", "sub-1", "0", "41") == "sub-1 updated, revision 5\n"
    assert await say("replay", "sub-1", "--partition", "0", "--offset", "7") == "sub-1 updated, revision 6\n"
    assert await say("replay", "sub-1", "--since", "2026-01-31T12:00:00Z") == "sub-1 updated, revision 7\n"
    assert json.loads(await say("get", "sub-1", "--output", "json"))["resumeFrom"] == {
        "timestamp": "2026-01-31T12:00:00Z"
    }
    assert json.loads(await say("delete", "sub-1", "--yes", "--output", "json")) == {
        "id": "sub-1",
        "result": "deleted",
        "revision": 8,
    }


async def test_a_secret_key_is_rotated_without_a_loss(webhooks: Webhooks) -> None:
    await apply(webhooks, ONE)
    old, new = webhooks.environment["WEBHOOKS_SECRET_KEYS"], Fernet.generate_key().decode()
    both, after = (Webhooks({**webhooks.environment, "WEBHOOKS_SECRET_KEYS": keys}) for keys in (f"{new},{old}", new))
    assert await both.done("subscriptions", "reencrypt") == "sub-1 updated, revision 1\n"
    assert await after.done("subscriptions", "reencrypt") == "sub-1 unchanged, revision 1\n"
    ended = await webhooks.run("subscriptions", "reencrypt")
    assert ended.code == 1
    assert "sub-1: configuration.entrypointConfiguration." in ended.err


async def test_an_impossible_command_is_reported_in_a_sentence(webhooks: Webhooks) -> None:
    for words in (["get", "sub-9"], ["pause", "sub-9"], ["delete", "sub-9", "--yes"]):
        ended = await webhooks.run("subscriptions", *words)
        assert (ended.code, ended.err) == (1, 'Error: there is no subscription "sub-9"\n')
    await apply(webhooks, ONE)
    ended = await webhooks.run("subscriptions", "replay", "sub-1", "--since", "soon")
    assert ended.code == 1
    assert '--since: "soon" is not a time; allowed: 10m' in ended.err
    assert (await webhooks.run("subscriptions", "replay", "sub-1", "--offset", "3")).code == 2
    for words in (["skip", "sub-1", "3", "0"], ["replay", "sub-1", "--partition", "3", "--offset", "0"]):
        ended = await webhooks.run("subscriptions", *words)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith("Error: partition: 3 is not in topic ")
        assert ended.err.endswith("; allowed: 0 to 2\n")


async def test_an_offset_that_is_not_in_the_log_is_refused(webhooks: Webhooks, broker: TestBroker) -> None:
    """A worker would skip all events up to this offset, or the event that gets this offset later."""
    await apply(webhooks, ONE)
    await broker.produce(source_of(webhooks), *[(b"sub-1", b"")] * 3, partition=0)
    for words, allowed in (
        (["skip", "sub-1", "0", "3"], "0 to 2"),
        (["skip", "sub-1", "1", "0"], "none, because it has no events"),
        (["replay", "sub-1", "--partition", "0", "--offset", "4"], "0 to 3"),
    ):
        ended = await webhooks.run("subscriptions", *words)
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.endswith(f"of topic {source_of(webhooks)}; allowed: {allowed}\n")
    await webhooks.done("subscriptions", "replay", "sub-1", "--partition", "0", "--offset", "3")
    await webhooks.done("subscriptions", "skip", "sub-1", "0", "2")


async def test_apply_prints_the_advisories_of_a_subscription(webhooks: Webhooks) -> None:
    careless = {**ONE, "configuration": {"callbackUrl": "https://example.com/one", "ssl": {"trustAll": True}}}
    ended = await webhooks.run("subscriptions", "apply", "-", stdin=json.dumps(careless).encode())
    assert (ended.code, ended.out) == (0, "sub-1 created, revision 0\n")
    assert ended.err.startswith("sub-1: any certificate is accepted (ssl.trustAll)")


async def test_a_missing_topic_is_reported_at_once(
    broker: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("cli")

    ended = await application(tmp_path, name, broker.bootstrap, source=f"{name}-events").run("subscriptions", "list")

    assert ended.code == 1
    assert ended.err.startswith(f"Error: topic {name}.subscriptions: does not exist")


async def test_an_event_is_sent_with_key_body_and_headers(
    webhooks: Webhooks, broker: TestBroker, tmp_path: Path
) -> None:
    topic = source_of(webhooks)
    await apply(webhooks, ONE)
    (tmp_path / "body").write_bytes(b"\x00from a file")

    places = [
        await webhooks.done("send", "sub-1", '{"order": 7}', "-H", "content-type: text/x", "-H", "empty:"),
        await webhooks.done("send", "sub-1", f"@{tmp_path / 'body'}"),
        await webhooks.done("send", "sub-1", "-", stdin=b"from stdin"),
    ]

    records = await broker.wait_for(topic, 3)
    assert places == [f"{topic}-{record.partition}-{record.offset}\n" for record in records]
    assert [record.key for record in records] == [b"sub-1"] * 3
    assert [record.value for record in records] == [b'{"order": 7}', b"\x00from a file", b"from stdin"]
    assert records[0].headers == (("content-type", b"text/x"), ("empty", b""))


async def test_sending_to_an_unknown_subscription_writes_nothing(webhooks: Webhooks, broker: TestBroker) -> None:
    await apply(webhooks, ONE, {**TWO, "id": "french-orders"}, {**TWO, "id": "gone"})
    await webhooks.done("subscriptions", "delete", "gone", "--yes")

    known = await webhooks.run("send", "sub-1", "body", "-o", "json")
    unknown = [await webhooks.run("send", each, "body") for each in ("gone", "french-oders")]

    assert (known.code, known.err) == (0, "")
    assert json.loads(known.out)["subscriptionExists"] is True
    assert [(each.code, each.out) for each in unknown] == [(1, "")] * 2
    assert [each.err for each in unknown] == [
        'Error: there is no subscription "gone", so nothing was written\n',
        'Error: there is no subscription "french-oders", so nothing was written; did you mean french-orders?\n',
    ]
    assert len(await broker.read(source_of(webhooks))) == 1


async def test_an_event_that_can_t_be_sent_is_reported_in_a_sentence(
    webhooks: Webhooks, broker: TestBroker, tmp_path: Path
) -> None:
    nowhere = application(tmp_path, "nowhere", broker.bootstrap, source="no-such-topic")

    for ended, sentence in [
        (await webhooks.run("send", "sub-1", "body", "-H", "no colon"), "--header: 'no colon' is not NAME:VALUE"),
        (await webhooks.run("send", "sub-1", "@/no/such/file"), "BODY: /no/such/file can't be read"),
        (await nowhere.run("send", "sub-1", "body"), "topic no-such-topic: does not exist"),
    ]:
        assert ended.code == 1
        assert ended.err.startswith(f"Error: {sentence}")


async def commit(webhooks: Webhooks, broker: TestBroker, offsets: dict[int, int]) -> None:
    """Commit offsets like workers."""
    await broker.commit(webhooks.environment["WEBHOOKS_APP"], source_of(webhooks), offsets)


async def test_a_command_prints_waiting_events_by_partition(webhooks: Webhooks, broker: TestBroker) -> None:
    topic = source_of(webhooks)
    await apply(webhooks, ONE)
    for partition in range(3):
        await broker.produce(source_of(webhooks), *[(b"sub-1", b""), (b"sub-2", b"")] * 5, partition=partition)
    await commit(webhooks, broker, {0: 2, 1: 10, 2: 10})
    await note(webhooks, broker, (1, "sub-1", FAILED))

    for words in (["pause"], ["resume"], ["stop"], ["start"]):
        ended = await webhooks.run("subscriptions", *words, "sub-1")
        assert ended.err.splitlines() == [
            "partition 0: up to 4 events waiting, from 2 on",
            "partition 1: failure, up to 4 events waiting, from 2 on",
            "partition 2: no events waiting",
        ]
    ended = await webhooks.run("subscriptions", "pause", "sub-1", "--output", "json")
    assert ended.err == ""
    assert json.loads(ended.out)["partitions"] == [
        {"topic": topic, "partition": 0, "status": None, "next": 2, "waitingAtMost": 4},
        {"topic": topic, "partition": 1, "status": "failure", "next": 2, "waitingAtMost": 4},
        {"topic": topic, "partition": 2, "status": None, "next": 10, "waitingAtMost": 0},
    ]


async def test_a_resume_says_that_nothing_is_sent_yet(webhooks: Webhooks, tmp_path: Path) -> None:
    webhooks = Webhooks({**webhooks.environment, "WEBHOOKS_DATA_DIR": str(tmp_path / "state")})
    await apply(webhooks, {**TWO, "startingAt": "2999-01-01T00:00:00Z"}, {**TWO, "id": "sub-3", "status": "PAUSED"})
    early = "sub-2: delivers nothing before its startingAt, 2999-01-01T00:00:00Z; to begin earlier, "
    paused = "sub-3: is paused by its publisher: nothing is sent until it is resumed\n"
    for words in (["resume", "sub-2"], ["resume", "sub-2", "--json"], ["resume", "sub-2", "sub-3"]):
        ended = await webhooks.run("subscriptions", *words)
        assert (ended.code, early in ended.err, "sub-3: is" in ended.err) == (0, True, False), ended
    assert paused not in (await webhooks.run("subscriptions", "pause", "sub-3")).err
    started = await webhooks.run("subscriptions", "start", "sub-3")
    every = await webhooks.run("subscriptions", "start", "--all", "--state", "paused", "--yes")
    assert (started.code, every.code, paused in started.err, paused in every.err) == (0, 0, True, True), every
    assert early in every.err


async def test_several_subscriptions_are_resumed_together(webhooks: Webhooks, broker: TestBroker) -> None:
    await apply(webhooks, *({**TWO, "id": name} for name in "abc"))
    await broker.produce(source_of(webhooks), *[(b"a", b""), (b"c", b"")] * 5, partition=0)
    await note(webhooks, broker, (0, "a", FAILED), (0, "b", Cursor(next=1)), (1, "c", FAILED))
    await commit(webhooks, broker, {0: 10, 1: 0, 2: 0})

    unknown = await webhooks.run("subscriptions", "resume", "a", "nobody")
    assert (unknown.code, unknown.out, unknown.err) == (1, "", 'Error: there is no subscription "nobody"\n')
    named = await webhooks.run("subscriptions", "resume", "b", "a", "b")
    assert named.out == "b updated, revision 3\na updated, revision 4\n"
    assert "a: partition 0: failure, up to 4 events waiting, from 2 on\n" in named.err
    for words in ([], ["a", "--all"]):
        assert (await webhooks.run("subscriptions", "resume", *words)).code == 2


async def test_partitions_with_the_same_effect_are_printed_on_one_line(webhooks: Webhooks) -> None:
    await apply(webhooks, ONE)
    ended = await webhooks.run("subscriptions", "pause", "sub-1")
    assert ended.err == "partitions 0-2: the position is unknown: no worker has opened this partition yet\n"


async def test_a_replay_by_time_reports_its_effect_in_each_partition(
    kafka: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    webhooks = await prepared(kafka, tmp_path, unique_name("cli"))
    topic = source_of(webhooks)
    await apply(webhooks, ONE)
    for partition in range(3):
        await kafka.produce(source_of(webhooks), *[(b"sub-1", b""), (b"sub-2", b"")] * 5, partition=partition)
    await commit(webhooks, kafka, {0: 2, 1: 10})
    since = ["subscriptions", "replay", "sub-1", "--since"]

    tried = await webhooks.run(*since, "2020-01-31T12:00:00Z", "--dry-run")
    back = await webhooks.run(*since, "2020-01-31T12:00:00Z")
    assert (tried.code, tried.out, tried.err) == (0, "", back.err)
    assert back.out == "sub-1 updated, revision 1\n"
    waiting = await webhooks.run("subscriptions", "pause", "sub-1")
    assert waiting.err.splitlines() == [
        "partitions 0-1: the position is unknown: no worker has carried out the replay of revision 1 yet",
        "partition 2: the position is unknown: no worker has opened this partition yet",
    ]
    await note(webhooks, kafka, (0, "sub-1", Cursor(2, revision=2)), (1, "sub-1", Cursor(10, revision=2)))
    assert back.err.splitlines() == [
        "partition 0: sends up to 1 event again, offsets 0 to 1",
        "partition 1: sends up to 5 events again, offsets 0 to 9",
        "partition 2: the position is unknown: no worker has opened this partition yet",
    ]
    after_all = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    stays = await webhooks.run(*since, after_all)
    assert stays.err.splitlines()[:2] == [
        "partition 0: stays at 2, because of up to 4 events waiting before 10; --discard-waiting discards them",
        "partition 1: sends no events again",
    ]
    await note(webhooks, kafka, (0, "sub-1", Cursor(2, revision=3)), (1, "sub-1", Cursor(10, revision=3)))
    discards = await webhooks.run(*since, after_all, "--discard-waiting", "--output", "json")
    assert discards.err.splitlines()[0] == "partition 0: discards up to 4 events, offsets 2 to 9"
    assert json.loads(discards.out)["partitions"] == [
        {"topic": topic, "partition": 0, "next": 2, "from": 10, "discardedAtMost": 4},
        {"topic": topic, "partition": 1, "next": 10, "from": 10, "sentAgainAtMost": 0},
        {"topic": topic, "partition": 2, "problem": "no worker has opened this partition yet"},
    ]


async def test_without_rows_a_command_works_and_shows_what_is_unknown(
    broker: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("cli")
    await broker.create_topic(f"{name}.subscriptions", 1, {"cleanup.policy": "compact"})
    source = await broker.create_topic(f"{name}-events", 2)
    webhooks = application(tmp_path, name, broker.bootstrap, source=source)
    await apply(webhooks, TWO)
    await broker.produce(source, (b"sub-2", b""), partition=0)

    for words in (
        ["pause", "sub-2"],
        ["skip", "sub-2", "0", "0"],
        ["replay", "sub-2", "--partition", "0", "--offset", "0"],
        ["replay", "sub-2", "--since", "2020-01-31T12:00:00Z", "--discard-waiting"],
    ):
        ended = await webhooks.run("subscriptions", *words)
        assert ended.code == 0
        assert f"the position is unknown: topic {name}.cursors: " in ended.err


async def test_a_replay_forward_is_refused_without_discard_waiting(webhooks: Webhooks, broker: TestBroker) -> None:
    await apply(webhooks, ONE)
    await broker.produce(source_of(webhooks), *[(b"sub-1", b""), (b"sub-2", b"")] * 5, partition=0)
    await commit(webhooks, broker, {0: 2})
    forward = ["subscriptions", "replay", "sub-1", "--partition", "0", "--offset", "8"]

    refused = await webhooks.run(*forward)
    assert (refused.code, refused.out) == (1, "")
    assert (
        "partition 0: stays at 2, because of up to 3 events waiting before 8; --discard-waiting discards them"
        in refused.err
    )
    tried = await webhooks.run(*forward, "--discard-waiting", "--dry-run", "--output", "json")
    assert json.loads(tried.out) == {
        "id": "sub-1",
        "partitions": [{"topic": source_of(webhooks), "partition": 0, "next": 2, "from": 8, "discardedAtMost": 3}],
        "dryRun": True,
    }
    done = await webhooks.run(*forward, "--discard-waiting")
    assert (done.code, done.out) == (0, "sub-1 updated, revision 1\n")
    assert "partition 0: discards up to 3 events, offsets 2 to 7" in done.err
    unknown = "partition 0: the position is unknown: no worker has carried out the replay of revision 1 yet"
    assert unknown in (await webhooks.run(*forward)).err
    await note(webhooks, broker, (0, "sub-1", Cursor(8, revision=2)))
    back = await webhooks.run("subscriptions", "replay", "sub-1", "--partition", "0", "--offset", "0")
    assert "partition 0: sends up to 4 events again, offsets 0 to 7" in back.err
    await note(webhooks, broker, (0, "sub-1", Cursor(2, revision=3)))
    passed = await webhooks.run("subscriptions", "skip", "sub-1", "0", "1")
    assert (passed.code, passed.out) == (1, "")
    assert "offset: 1 is not the next event in partition 0; allowed: 2; nothing was changed" in passed.err
