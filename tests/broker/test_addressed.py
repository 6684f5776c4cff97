"""With `routing: match`, a redrive and `webhooks send` reach one subscription only."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.cluster.sending import addressed, send
from pipeline.core.model import PlainEvent
from pipeline.core.webhook_ids import WebhookIds, own_id
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.program import Webhooks
from tests.support.recorder import Call, Recorder, answer, recording

pytestmark = pytest.mark.timeout(180)


@asynccontextmanager
async def matching(kafka: TestBroker, name: str, folder: Path) -> AsyncIterator[tuple[Cluster, Webhooks, Recorder]]:
    """A worker, and two subscriptions that get every event."""
    async with recording() as recorder, cluster(kafka, name, folder, partitions=2, dlq=True, routing="match") as found:
        await found.subscribe(recorder, "calm", "strict")
        await found.start_worker()
        await found.until_ready()
        yield found, Webhooks(found.environment), recorder


async def delivered(found: Cluster, recorder: Recorder, *subscriptions: str) -> dict[str, list[Call]]:
    """The calls of each subscription, once a last event has reached all of them."""
    for partition in range(2):
        await found.produce([("last", b'"last"')], partition=partition)

    def have_had_all() -> bool:
        return all(sum(call.body == b'"last"' for call in recorder.of(name)) == 2 for name in subscriptions)

    await recorder.until(have_had_all)
    return {name: [call for call in recorder.of(name) if call.body != b'"last"'] for name in subscriptions}


async def test_a_redrive_reaches_only_the_rejecting_subscription(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with matching(kafka, unique_name("addressed"), tmp_path) as (found, webhooks, recorder):
        recorder.behaviours["strict"] = answer(400)
        await found.produce([("order-1", b'{"kind": "paid"}')])
        await kafka.wait_for(f"{found.app}-dlq", 1)
        await recorder.until(lambda: recorder.counts() == {"calm": 1, "strict": 1})
        [first] = recorder.of("strict")

        [letter] = json.loads(await webhooks.done("dlq", "list", "-o", "json"))
        assert (letter["subscription"], letter["webhookId"]) == ("strict", first.webhook_id)
        del recorder.behaviours["strict"]
        await found.subscribe(recorder, "strict", endpoint={"filter": {"exact": {"key": "last"}}})
        assert " strict -> " in await webhooks.done("dlq", "redrive")

        calls = await delivered(found, recorder, "calm", "strict")
        [_, again] = calls["strict"]
        assert (again.webhook_id, again.body, again.attempt) == (first.webhook_id, first.body, 1)
        assert not [name for name in again.headers if name.startswith("dlq")]
        assert len(calls["calm"]) == 1
        [letter] = json.loads(await webhooks.done("dlq", "list", "-o", "json"))
        assert letter["redriven"] is True


async def test_a_second_dead_letter_has_the_subscription_of_the_first(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with matching(kafka, unique_name("addressed-again"), tmp_path) as (found, webhooks, recorder):
        recorder.behaviours["strict"] = answer(400)
        await found.produce([("order-1", b"{}")])
        await kafka.wait_for(f"{found.app}-dlq", 1)
        await webhooks.done("dlq", "redrive")
        letters = await kafka.wait_for(f"{found.app}-dlq", 2)
        names = [name for name, _ in letters[1].headers]
        assert len(names) == len(set(names))
        assert "dlq.for" not in names
        del recorder.behaviours["strict"]
        await webhooks.done("dlq", "redrive", "--subscription", "strict")

        calls = await delivered(found, recorder, "calm", "strict")
        ids = [call.webhook_id for call in calls["strict"]]
        assert ids == 3 * [calls["calm"][0].webhook_id]
        assert len(calls["calm"]) == 1


async def test_send_reaches_one_subscription_and_refuses_unknown_ones(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with matching(kafka, unique_name("addressed-send"), tmp_path) as (found, webhooks, recorder):
        sent = await webhooks.run("send", "strict", '"hello"', "-H", "type:test", "-o", "json")
        assert json.loads(sent.out)["subscriptionExists"] is True
        await recorder.until_events(1)
        [call] = recorder.calls
        assert (call.subscription, call.body, call.headers["type"]) == ("strict", b'"hello"', "test")
        assert call.webhook_id == json.loads(sent.out)["webhookId"]

        sent = await webhooks.run("send", "late", '"early"')
        assert (sent.code, 'there is no subscription "late"' in sent.err) == (1, True)
        ids = WebhookIds.from_secret_keys([found.environment["WEBHOOKS_SECRET_KEYS"]])
        event = PlainEvent(found.topic, 0, 0, b"late", b'"early"', addressed(ids, "late", b'"early"', ()))
        early = await send(found.definition.source, event)
        [letter] = await kafka.wait_for(f"{found.app}-dlq", 1)
        told = dict(letter.headers)
        assert (told["dlq.reason"], told["dlq.subscription"]) == (b"unknown-subscription", b"late")
        await found.subscribe(recorder, "late")
        await webhooks.done("dlq", "redrive", "--subscription", "late")

        calls = await delivered(found, recorder, "calm", "strict", "late")
        [call] = calls["late"]
        assert (call.body, call.webhook_id) == (b'"early"', own_id(early))
        assert (len(calls["calm"]), len(calls["strict"])) == (0, 1)

        refused = await webhooks.run("send", "strict", "{}", "-H", "dlq.for:calm")
        assert (refused.code, refused.err) == (1, "Error: --header: dlq.for is a header that only the pipeline sets\n")


async def test_an_address_that_a_producer_writes_has_no_effect(
    kafka: TestBroker, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    async with matching(kafka, unique_name("addressed-forged"), tmp_path) as (found, webhooks, recorder):
        await webhooks.done("send", "calm", "{}")
        await recorder.until_events(1)
        [record] = await kafka.read(found.topic)
        forged = [(name, b"strict" if name == "dlq.for" else value) for name, value in record.headers]
        async with kafka.producer() as producer:
            await producer.send_and_wait(found.topic, record.value, record.key, headers=forged)

        [letter] = await kafka.wait_for(f"{found.app}-dlq", 1)
        assert dict(letter.headers)["dlq.reason"] == b"undecodable"
        assert (await webhooks.done("dlq", "redrive", "--skipped")).startswith(
            f"skipped {found.app}-dlq-0-0 -: no header says which subscription it was for"
        )
        [letter] = json.loads(await webhooks.done("dlq", "list", "-o", "json"))
        assert (letter["subscription"], letter["redriven"]) == (None, False)
        assert await delivered(found, recorder, "strict") == {"strict": []}
