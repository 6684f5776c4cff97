"""Several processes change the same subscription at the same time, and no change is lost."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from pipeline.core.errors import ConflictError, PreconditionError, UnknownSubscriptionError
from pipeline.core.redaction import MASKED_FIELD
from pipeline.core.subscription import ReplayOffset
from pipeline.subscriptions.edits import PAUSE, RESUME, STOP, Change, Condition, Edit, going_on_from
from tests.broker.test_subscriptions import KEY, Cluster, Worker, cluster, document

__all__ = ["cluster"]

ROUNDS = 15


@pytest.fixture
async def three(cluster: Cluster) -> AsyncIterator[list[Worker]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(cluster.worker()) for _ in range(3)]


async def test_edits_of_different_fields_are_all_kept(three: list[Worker]) -> None:
    one, two, third = (worker.store for worker in three)
    await one.apply(document())
    for number in range(ROUNDS):
        status, consumer = ("PAUSED", "STOPPED") if number % 2 == 0 else ("ACCEPTED", "STARTED")
        note = {"round": str(number)}
        await asyncio.gather(
            one.edit("s", Edit({"status": status}, always=True)),
            two.edit("s", Edit({"consumer_status": consumer}, always=True)),
            third.edit("s", Edit({"metadata": note}, always=True)),
        )
        found = await one.get("s")
        assert (found["status"], found["consumerStatus"], found["metadata"]) == (status, consumer, note)


async def test_an_edit_of_another_process_is_kept(cluster: Cluster) -> None:
    told = {"bootstrap": cluster.broker.bootstrap, "embedded": cluster.broker.embedded}
    command = ["-m", "tests.support.editing_process", json.dumps({**told, "topic": cluster.topic, "key": KEY})]
    async with cluster.worker() as worker:
        await worker.store.apply(document())
        other = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert other.stdin is not None
        assert other.stdout is not None
        try:
            assert await other.stdout.readline() == b"ready\n"
            for number in range(2 * ROUNDS):
                status, consumer = ("PAUSED", "STOPPED") if number % 2 == 0 else ("ACCEPTED", "STARTED")
                other.stdin.write(f"{status}\n".encode())
                await worker.store.edit("s", Edit({"consumer_status": consumer}))
                assert await other.stdout.readline() == f"{status}\n".encode()
                found = await worker.store.get("s")
                assert (found["status"], found["consumerStatus"]) == (status, consumer)
        finally:
            other.stdin.close()
            await other.wait()


async def test_applying_keeps_a_concurrent_pause_and_a_new_secret(three: list[Worker]) -> None:
    one, two, third = (worker.store for worker in three)
    await one.apply(document())
    rotated = document()
    rotated["configuration"]["auth"]["basic"]["password"] = "hunter3"
    masked = document(metadata={"a": "b"})
    masked["configuration"]["auth"]["basic"]["password"] = MASKED_FIELD
    for store in (one, two, third):
        await store.get("s")
    await asyncio.gather(one.apply(rotated), two.edit("s", PAUSE), third.apply(masked))
    await one.get("s")
    wire = three[0].registry.wire("s")
    assert wire is not None
    assert wire.status == "PAUSED"
    assert "hunter3" in json.dumps(wire.model_dump(mode="json"))


async def test_of_two_concurrent_documents_one_is_kept_as_a_whole(three: list[Worker]) -> None:
    one, two, _ = (worker.store for worker in three)
    await one.apply(document())
    for number in range(ROUNDS):
        await asyncio.gather(
            one.apply(document(metadata={"one": str(number)})), two.apply(document(metadata={"two": str(number)}))
        )
        assert (await one.get("s"))["metadata"] in ({"one": str(number)}, {"two": str(number)})


async def test_two_creators_agree_on_the_start_of_a_subscription(three: list[Worker]) -> None:
    one, two, third = (worker.store for worker in three)
    await asyncio.gather(one.apply(document()), two.apply(document(metadata={"a": "b"})), third.apply(document()))
    assert await one.get("s") == await two.get("s") == await third.get("s")


async def test_an_edit_does_not_restore_a_deleted_subscription(three: list[Worker]) -> None:
    one, two, _ = (worker.store for worker in three)
    for _ in range(ROUNDS):
        await one.apply(document())
        await two.get("s")
        _, edited = await asyncio.gather(one.delete("s"), two.edit("s", RESUME), return_exceptions=True)
        assert isinstance(edited, (UnknownSubscriptionError, Change))
        with pytest.raises(UnknownSubscriptionError):
            await one.get("s")


async def test_a_subscription_created_again_is_kept_despite_late_edits(three: list[Worker]) -> None:
    one, two, third = (worker.store for worker in three)
    for number in range(2 * ROUNDS):
        await one.apply(document())
        for store in (two, third):
            await store.get("s")

        async def create_again(note: dict[str, str]) -> None:
            await one.delete("s")
            await one.apply(document(metadata=note))

        note = {"round": str(number)}
        await asyncio.gather(
            create_again(note),
            two.edit("s", Edit({"qos": "none"}, always=True)),
            third.edit("s", Edit({"consumer_status": "STOPPED"}, always=True)),
            return_exceptions=True,
        )
        assert (await two.get("s"))["metadata"] == note


async def test_a_subscription_closed_by_another_process_stays_closed(three: list[Worker]) -> None:
    one, two, _ = (worker.store for worker in three)
    for _ in range(ROUNDS):
        await one.apply(document(status="ACCEPTED"))
        await two.get("s")
        _, edited = await asyncio.gather(
            one.edit("s", Edit({"status": "CLOSED"})), two.edit("s", STOP), return_exceptions=True
        )
        assert isinstance(edited, (ConflictError, Change))
        assert (await one.get("s"))["status"] == "CLOSED"
        await one.apply(document(status="ACCEPTED", consumerStatus="STARTED"))


async def test_no_command_is_lost_because_of_another_change(three: list[Worker]) -> None:
    one, two, third = three
    await one.store.apply(document())
    given = 0
    for number in range(ROUNDS):
        await asyncio.gather(
            one.store.edit("s", going_on_from({"partition": 0, "offset": number})),
            two.store.edit("s", Edit({"metadata": {"round": str(number)}}, always=True)),
            third.store.edit("s", going_on_from({"skip": {"partition": 1, "offset": number}})),
        )
        await one.store.get("s")
        newest, given = one.registry.get("s"), given + 2
        assert newest is not None
        assert len(newest.commands) == given


async def test_a_change_that_is_undone_repeats_no_command(three: list[Worker]) -> None:
    one, two, _ = three
    revision = (await one.store.apply(document())).revision
    refused = 0
    for number in range(ROUNDS):
        await two.store.get("s")
        changed, _ = await asyncio.gather(
            one.store.apply(document(metadata={"round": str(number)}), Condition(frozenset({revision}))),
            two.store.edit("s", going_on_from({"partition": 0, "offset": number})),
            return_exceptions=True,
        )
        refused += isinstance(changed, PreconditionError)
        await one.store.get("s")
        newest = one.registry.get("s")
        assert newest is not None
        revision = newest.revision
        given = [found.resume_from for _, found in one.changes if found is not None and found.resume_from is not None]
        assert given == [ReplayOffset(0, each) for each in range(number + 1)]
        assert [each.resume_from for each in newest.commands] == given
    assert refused, "the two changes were never concurrent"


async def test_a_change_that_is_undone_leaves_no_trace(three: list[Worker]) -> None:
    one, two, third = (worker.store for worker in three)
    revision = (await one.apply(document())).revision
    refused = 0
    for number in range(ROUNDS):
        for store in (two, third):
            await store.get("s")
        note = {"round": str(number)}
        outcomes = await asyncio.gather(
            two.edit("s", STOP if number % 2 else RESUME),
            one.apply(document(metadata=note), Condition(frozenset({revision}))),
            third.edit("s", Edit({"qos": "none" if number % 2 else "auto"}, always=True)),
            return_exceptions=True,
        )
        found = await one.get("s")
        is_refused = isinstance(outcomes[1], PreconditionError)
        refused += is_refused
        assert (found["metadata"] == note) is not is_refused, outcomes
        assert found["qos"] == ("none" if number % 2 else "auto"), outcomes
        revision = found["revision"]
    assert refused, "the two changes were never concurrent"
