"""Concurrent changes of one subscription, in many orders of their records."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pipeline.core.errors import ConflictError, PreconditionError, UnknownSubscriptionError, WebhooksError
from pipeline.core.subscription import ReplayOffset
from pipeline.subscriptions.edits import ALWAYS, Change, Condition, Edit, going_on_from
from pipeline.subscriptions.store import SubscriptionStore
from tests.support.shared_topic import SharedTopic

SEEDS = [*range(100), 313, 424, 952, 1475, 1917, 2293]
MOST_RECORDS = 40

Write = Callable[[SubscriptionStore], Awaitable[Change]]


def document(**more: Any) -> dict[str, Any]:
    return {"id": "s", "configuration": {"callbackUrl": "https://example.com"}, **more}


def edit(**update: object) -> Write:
    return lambda store: store.edit("s", Edit(update, always=True))


def replay(offset: int) -> Write:
    return lambda store: store.edit("s", going_on_from({"partition": 0, "offset": offset}))


async def outcomes(
    topic: SharedTopic, *writes: Write
) -> tuple[list[Change | BaseException], dict[str, Any] | None, Any]:
    """Make each write in a store of its own. Returns their results, and the subscription after all of them."""
    stores = [topic.store()[0] for _ in writes]
    await stores[0].apply(document())
    for store in stores:
        await store.get("s")
    found = await asyncio.gather(
        *(write(store) for write, store in zip(writes, stores, strict=True)), return_exceptions=True
    )
    assert len(topic.records) < MOST_RECORDS, "the writers do not agree"
    reader, registry = topic.store()
    try:
        return found, await reader.get("s"), registry.get("s")
    except UnknownSubscriptionError:
        return found, None, None


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_concurrent_close_refuses_only_edits_that_follow_it(seed: int) -> None:
    results, found, newest = await outcomes(
        SharedTopic(seed), edit(status="CLOSED"), edit(consumer_status="STOPPED"), edit(qos="none"), replay(7)
    )
    closed, stopped, changed, replayed = [isinstance(each, Change) for each in results]
    assert closed
    assert all(isinstance(each, Change | ConflictError) for each in results), results
    assert found is not None
    assert found["status"] == "CLOSED"
    assert (found["consumerStatus"] == "STOPPED") is stopped
    assert (found["qos"] == "none") is changed
    assert [each.resume_from for each in newest.commands] == [ReplayOffset(0, 7)] * replayed


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_edit_restores_a_deleted_subscription(seed: int) -> None:
    results, found, _ = await outcomes(
        SharedTopic(seed), lambda store: store.delete("s"), edit(qos="none"), edit(consumer_status="STOPPED"), replay(7)
    )
    assert all(isinstance(each, Change | UnknownSubscriptionError) for each in results), results
    assert found is None, results


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_late_edit_deletes_a_subscription_created_again(seed: int) -> None:
    """The writer of a late edit deletes the subscription again, perhaps after it was created again."""
    deleted = asyncio.Event()

    async def delete(store: SubscriptionStore) -> Change:
        change = await store.delete("s")
        deleted.set()
        return change

    async def create(store: SubscriptionStore) -> Change:
        await deleted.wait()
        return await store.apply(document(metadata={"new": "1"}))

    condition = Condition(frozenset({0}))
    results, found, _ = await outcomes(
        SharedTopic(seed),
        delete,
        create,
        edit(qos="none"),
        edit(consumer_status="STOPPED"),
        lambda store: store.apply(document(metadata={"old": "1"}), condition),
    )
    assert isinstance(results[1], Change), results
    assert found is not None, results
    assert found["metadata"] == {"new": "1"}


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_creation_confirmed_among_concurrent_changes_is_kept(seed: int) -> None:
    def create(number: str, condition: Condition = ALWAYS) -> Write:
        return lambda store: store.apply(document(metadata={"by": number}), condition)

    results, found, _ = await outcomes(
        SharedTopic(seed),
        lambda store: store.delete("s"),
        edit(qos="none"),
        create("1"),
        create("2", Condition(exists=False)),
        edit(consumer_status="STOPPED"),
    )
    by = {
        str(number)
        for number, each in enumerate((results[2], results[3]), 1)
        if isinstance(each, Change) and each.what == "created"
    }
    assert not by or (found is not None and found["metadata"]["by"] in {"1", "2"}), results


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_conditional_change_that_fails_has_no_effect(seed: int) -> None:
    condition = Condition(frozenset({0}))
    results, found, newest = await outcomes(
        SharedTopic(seed),
        lambda store: store.apply(document(metadata={"one": "1"}), condition),
        lambda store: store.apply(document(metadata={"two": "2"}), condition),
        edit(qos="none"),
        replay(7),
    )
    assert not any(isinstance(each, WebhooksError) and not isinstance(each, PreconditionError) for each in results), (
        results
    )
    assert found is not None
    first, second = (isinstance(each, Change) for each in results[:2])
    assert not (first and second)
    assert (found.get("metadata") or {}) == ({"one": "1"} if first else {"two": "2"} if second else {})
    assert found["qos"] == "none"
    assert [each.resume_from for each in newest.commands] == [ReplayOffset(0, 7)]
