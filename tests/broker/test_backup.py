"""`webhooks backup` and `webhooks restore` on a real Kafka, also after the loss of a topic."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.cluster.backup import Backup, as_lines, read_lines
from pipeline.cluster.restore import Restore
from pipeline.core.attempts import Attempts
from pipeline.core.model import Cause, Cursor, Status
from pipeline.kafka.cursors import KafkaRows
from pipeline.kafka.group_positions import commit_positions
from pipeline.kafka.kept_state import Kept, KeptState, read_state
from pipeline.kafka.log_positions import log_positions
from pipeline.kafka.row_format import decode
from pipeline.kafka.topics import audit_topic, tokens_topic
from pipeline.runtime.topics import ensure_topics
from pipeline.subscriptions.edits import PAUSE
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.program import Webhooks

pytestmark = pytest.mark.timeout(180)

SECRET = "not-for-your-eyes"
CAUSE = Cause("rejected", "the callback answered 410", 1, 5.0, Attempts(1, 5.0, 410))
FAILED = Cursor(1, Status.FAILURE, CAUSE)


def document(name: str) -> dict[str, Any]:
    auth = {"type": "basic", "basic": {"username": "me", "password": SECRET}}
    options = {"callbackUrl": f"http://127.0.0.1:9/{name}", "auth": auth}
    return {"id": name, "startFrom": "earliest", "configuration": options}


@pytest.fixture
async def orders(kafka: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]) -> AsyncIterator[Cluster]:
    """Two partitions of ten events, with the committed offsets 4 and 6.

    `late` was edited, and failed at offset 1 of partition 1.
    """
    async with cluster(kafka, unique_name("orders"), tmp_path, partitions=2, routing="match") as found:
        for partition in range(2):
            await found.produce((("o", b"%d" % number) for number in range(10)), partition=partition)
        for name in ("gone", "late"):
            await found.store.apply(document(name))
        await found.store.delete("gone")
        await found.store.apply(document("early"))
        edited = await found.store.edit("late", PAUSE)
        await note(found, FAILED, edited.revision)
        await commit(found, {0: 4, 1: 6}, "begun-to=3")
        yield found


async def note(found: Cluster, row: Cursor, revision: int) -> None:
    """Write a row of `late` like the owner of partition 1."""
    store = KafkaRows(found.broker.connection, f"{found.app}.cursors", 1, on_written=lambda _: None)
    await store.open()
    try:
        await store.put(b"late", replace(row, revision=revision))
    finally:
        await store.close()


async def commit(found: Cluster, offsets: Mapping[int, int], metadata: str) -> None:
    places = {(found.topic, partition): offset for partition, offset in offsets.items()}
    await commit_positions(found.broker.connection, found.app, places, dict.fromkeys(places, metadata))


async def state_of(found: Cluster, app: str | None = None) -> KeptState:
    return await read_state(found.definition.source, app or found.app)


async def backed_up(found: Cluster) -> Backup:
    """A backup that was written to a file and read from it."""
    return read_lines(as_lines(await state_of(found), app=found.app, made_at="2026-11-27T12:00:00Z", program="1.2.3"))


async def restore_of(found: Cluster, backup: Backup, app: str | None = None, **keeps: bool) -> Restore:
    now = await state_of(found, app)
    return Restore(backup, now, app or found.app, found.definition.source, **keeps)


def problems_of(restore: Restore, *, replaces: bool = False) -> list[str]:
    return restore.problems(lambda _: None, replaces=replaces)


async def test_a_backup_is_restored_to_an_empty_application(orders: Cluster, unique_name: Callable[[str], str]) -> None:
    other = unique_name("others")
    assert await ensure_topics(orders.definition, other, [tokens_topic(other)]) == []
    before = await state_of(orders)
    restore = await restore_of(orders, await backed_up(orders), other)
    assert problems_of(restore) == []

    await restore.carry_out()

    after = await state_of(orders, other)
    assert [each.key for each in after.subscriptions] == [b"late", b"early"], "in the order of their creation"
    assert [stored(each) for each in after.subscriptions] == [stored(each) for each in reversed(before.subscriptions)]
    [row] = [decode(each.value) for each in after.rows if each.key == b"late"]
    assert row == replace(FAILED, revision=after.subscriptions[0].offset)
    assert {place: each.offset for place, each in after.commits.items()} == {(orders.topic, 0): 4, (orders.topic, 1): 6}
    assert {each.metadata for each in after.commits.values()} == {"begun-to=1"}, "late had begun, early had not"


def stored(subscription: Kept) -> dict[str, Any]:
    """The parts that a restore does not change: encrypted secrets, beginning, desired state."""
    found: dict[str, Any] = json.loads(subscription.value)
    found.pop("createdRevision", None)
    assert SECRET not in str(found)
    return found


async def test_existing_state_is_replaced_only_with_the_option(orders: Cluster) -> None:
    backup = await backed_up(orders)
    await orders.store.apply(document("newer"))
    await commit(orders, {0: 9}, "")

    restore = await restore_of(orders, backup)

    [refused] = problems_of(restore)
    assert "has 3 subscriptions and 1 cursor rows and committed offsets of 2 partitions; --replace" in refused
    assert problems_of(restore, replaces=True) == []
    said = restore.effects({orders.topic: await log_positions(orders.broker.connection, orders.topic)})
    assert "writes 2 subscriptions, deletes 1 that are not in the backup" in said
    assert f"late continues at 1 in partition 1 of {orders.topic}" in said
    again = "at most 5 events are sent again, up to offset 9 (the current committed offset)"
    assert f"partition 0 of {orders.topic} continues at 4: {again}" in said

    await restore.carry_out()
    assert sorted(each.key for each in (await state_of(orders)).subscriptions) == [b"early", b"late"]
    assert await orders.broker.committed(orders.app, orders.topic) == {0: 4, 1: 6}


async def test_no_positions_are_restored_to_a_recreated_topic(orders: Cluster) -> None:
    backup = await backed_up(orders)
    other = replace(backup, state=replace(backup.state, topic_ids={orders.topic: "A" * 22}))
    [problem] = problems_of(await restore_of(orders, other), replaces=True)
    assert problem.startswith(f"topic {orders.topic}: was recreated since the backup")
    assert problems_of(await restore_of(orders, other, keeps_positions=True), replaces=True) == []


async def test_restored_subscriptions_continue_from_their_rows(
    orders: Cluster, unique_name: Callable[[str], str]
) -> None:
    """The topic of subscriptions is empty, and rows contain revisions that it does not have yet."""
    backup, lost = await backed_up(orders), replace(await state_of(orders), subscriptions=())
    other = unique_name("others")
    assert await ensure_topics(orders.definition, other, [tokens_topic(other)]) == []
    restore = Restore(backup, lost, other, orders.definition.source, keeps_positions=True)
    assert problems_of(restore) == []

    await restore.carry_out()

    after = await state_of(orders, other)
    [row] = [decode(each.value) for each in after.rows if each.key == b"late"]
    assert (row.next, row.revision) == (1, after.subscriptions[0].offset), (
        "the row has the current revision, so the next resume is newer"
    )


async def test_rows_can_be_restored_alone(orders: Cluster) -> None:
    backup, lost = await backed_up(orders), replace(await state_of(orders), rows=(), commits={})
    restore = Restore(backup, lost, orders.app, orders.definition.source, keeps_subscriptions=True)
    assert problems_of(restore) == []
    subscriptions = (await state_of(orders)).subscriptions

    await restore.carry_out()

    after = await state_of(orders)
    assert after.subscriptions == subscriptions
    assert [decode(each.value) for each in after.rows if each.key == b"late"] == [
        replace(FAILED, revision=max(each.offset for each in subscriptions))
    ]


async def test_backup_and_restore_work_without_a_worker(orders: Cluster, tmp_path: Path) -> None:
    webhooks, file = Webhooks(orders.environment), tmp_path / "orders.backup"

    written = await webhooks.run("backup", str(file))

    assert (written.code, written.err) == (0, "2 subscriptions, 1 cursor rows, 2 committed offsets\n")
    assert file.stat().st_mode & 0o777 == 0o600
    refused = await webhooks.run("restore", str(file))
    assert refused.code == 1
    assert refused.err.endswith("--replace replaces them\nnothing was written\n")
    audit = await orders.broker.create_topic(audit_topic(orders.app))
    assert "restored" in await webhooks.done("restore", "--replace", "--yes", str(file))
    [record] = [json.loads(each.value or b"") for each in await orders.broker.read(audit)]
    assert {name: record[name] for name in ("what", "result", "subscriptions", "deleted", "rows")} == {
        "what": "webhooks restore",
        "result": "restored",
        "subscriptions": 2,
        "deleted": 0,
        "rows": 1,
    }
    assert record["backup"]["app"] == orders.app
