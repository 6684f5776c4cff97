"""Searches the attempt log of a cluster for what became of an event and what was sent to a subscription."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from pipeline.cluster.attempt_search import AttemptSearch
from pipeline.core.model import Status
from pipeline.core.webhook_ids import WebhookIds
from pipeline.kafka.topics import attempts_topic, subscriptions_topic
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.secrets import SecretBox
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.program import Webhooks
from tests.support.recorder import Call, Recorder, answer
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

ONE_RETRY = {"maxAttempts": 1, "initialDelaySeconds": 1, "maxDelaySeconds": 1}
SECRET = "Bearer planted-secret-of-a-subscription"


@asynccontextmanager
async def searching(found: Cluster, seconds: float = 20.0) -> AsyncIterator[AttemptSearch]:
    keys = found.environment["WEBHOOKS_SECRET_KEYS"].split(",")
    connection = found.broker.connection
    registry = Registry(connection, subscriptions_topic(found.app), SecretBox(keys), found.definition)
    await registry.start()
    try:
        await registry.ready()
        ids = WebhookIds.from_secret_keys(keys)
        yield AttemptSearch(found.definition, found.app, registry, ids, seconds=seconds)
    finally:
        await registry.stop()


async def until_told(search: AttemptSearch, webhook_id: str, status: str) -> None:
    """Wait until the search returns this status, because workers write to the log a moment after an attempt."""
    told: list[str] = []

    async def is_told() -> bool:
        told[:] = [fate.status for fate in await search.fate(webhook_id)]
        return told == [status]

    await eventually(is_told, within_seconds=30, says=lambda: f"{webhook_id} is {told}, not {status}")


async def echo(call: Call) -> web.Response:
    return web.Response(status=400, text=f"you sent {call.headers.get('authorization')}")


async def test_the_fate_of_each_event_is_found(
    broker: TestBroker, recorder: Recorder, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    tries = 0

    async def fail_once(_: Call) -> web.Response:
        nonlocal tries
        tries += 1
        return web.Response(status=503 if tries == 1 else 200)

    recorder.behaviours = {"shaky": fail_once, "strict": echo, "down": answer(500), "idle": answer(200)}
    async with (
        cluster(broker, unique_name("fate"), tmp_path, partitions=2, dlq=True) as found,
        searching(found) as search,
    ):
        await found.subscribe(recorder, "good", "shaky", "down", endpoint={"retry": ONE_RETRY})
        headers = [{"name": "authorization", "value": SECRET}]
        await found.subscribe(recorder, "strict", endpoint={"retry": ONE_RETRY, "headers": headers})
        await found.until_ready(await found.start_worker())
        for name in ("good", "shaky", "strict", "down"):
            await found.produce([(name, b"{}")] * 2, partition=1)
        await recorder.until_events(7)
        topic = found.topic
        for offset, status in enumerate(
            ["delivered", "delivered", "delivered", "delivered", "dead-lettered", "dead-lettered", "waiting", "waiting"]
        ):
            await until_told(search, f"{topic}-1-{offset}", status)

        [shaky] = await search.fate(f"{topic}-1-2")
        assert [(each.result.decision, each.result.status, each.result.attempt) for each in shaky.entries] == [
            ("retry", 503, 1),
            ("delivered", 200, 2),
        ]
        [other] = await search.fate(f"{topic}-1-2", "good")
        assert (other.status, other.why) == ("filtered", "its key names another subscription")
        [unheard] = await search.fate(f"{topic}-1-99")
        assert unheard.status == "unknown"

        webhooks = Webhooks(found.environment)
        shown = json.loads((await webhooks.run("event", f"{topic}-1-4", "-o", "json")).out)
        assert [(each["fate"], each["why"]) for each in shown] == [("dead-lettered", "rejected")]
        table = await webhooks.done("event", f"{topic}-1-4")
        assert "dead-lettered" in table
        page = json.loads((await webhooks.run("attempts", "strict", "-o", "json")).out)
        assert sorted(each["decision"] for each in page["items"]) == ["dead-letter"] * 2 + ["dead-lettered"] * 2
        assert [each["at"] for each in page["items"]] == sorted((each["at"] for each in page["items"]), reverse=True)
        assert "strict" not in (await webhooks.done("attempts", "good"))
        refused = await webhooks.run("event", "elsewhere-1-4")
        assert (refused.code, "is not an event of the source" in refused.err) == (1, True)

        for record in await broker.read(attempts_topic(found.app)):
            assert b"planted-secret" not in (record.value or b"")


@pytest.mark.parametrize("routing", ["key", "match"])
async def test_a_redriven_event_is_found_by_its_first_id(
    kafka: TestBroker, recorder: Recorder, unique_name: Callable[[str], str], tmp_path: Path, routing: str
) -> None:
    recorder.behaviours = {"strict": answer(400)}
    async with (
        cluster(kafka, unique_name("again"), tmp_path, partitions=2, dlq=True, routing=routing) as found,
        searching(found) as search,
    ):
        await found.subscribe(recorder, "strict")
        await found.until_ready(await found.start_worker())
        await found.produce([("strict", b"{}")], partition=1)
        first = f"{found.topic}-1-0"
        await until_told(search, first, "dead-lettered")
        recorder.behaviours = {}
        webhooks = Webhooks(found.environment)
        redriven = await webhooks.done("dlq", "redrive")
        await until_told(search, first, "delivered")

        [fate] = await search.fate(first, "strict")
        assert [each.result.decision for each in fate.entries] == ["dead-letter", "dead-lettered", "delivered"]
        assert fate.entries[-1].position != (found.topic, 1, 0)
        place = redriven.partition(" -> ")[2].partition(",")[0]
        told = await webhooks.run("event", place, "-o", "json")
        assert [(each["webhookId"], each["fate"]) for each in json.loads(told.out)] == [(first, "delivered")]
        assert told.err == f"{place} was written by a redrive; its webhook-id is {first}\n"
        items = json.loads(await webhooks.done("attempts", "strict", "-o", "json"))["items"]
        assert [each["webhookId"] for each in items] == [first] * 3


async def test_if_deliveries_are_not_logged_the_fate_is_unknown(
    broker: TestBroker, recorder: Recorder, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    recorder.behaviours = {"strict": answer(400)}
    async with (
        cluster(broker, unique_name("few"), tmp_path, partitions=1, dlq=True) as found,
        searching(found) as search,
    ):
        await found.subscribe(recorder, "good", "strict")
        await found.until_ready(await found.start_worker(attempt_log="failures"))
        await found.produce([("good", b"{}"), ("strict", b"{}")])
        await until_told(search, f"{found.topic}-0-1", "dead-lettered")
        await until_told(search, f"{found.topic}-0-0", "unknown")
        [fate] = await search.fate(f"{found.topic}-0-0")
        assert "deliveries at the first attempt are not logged" in (fate.why or "")


async def test_without_a_log_the_lanes_still_show_the_fate(
    broker: TestBroker, recorder: Recorder, unique_name: Callable[[str], str], tmp_path: Path
) -> None:
    recorder.behaviours = {"down": answer(500)}
    async with (
        cluster(broker, unique_name("off"), tmp_path, partitions=1) as found,
        searching(found) as search,
    ):
        await found.subscribe(recorder, "down", endpoint={"retry": ONE_RETRY})
        await found.until_ready(await found.start_worker(attempt_log="off"))
        await found.produce([("down", b"{}")] * 2)
        await found.until_row("down", status=Status.FAILURE)
        for offset, ahead in ((0, ""), (1, f"it waits behind {found.topic}-0-0; ")):
            [fate] = await search.fate(f"{found.topic}-0-{offset}")
            assert fate.status == "waiting"
            assert (fate.why or "").startswith(f"{ahead}the subscription is in FAILURE since ")
            assert "Z: the callback answered 500" in (fate.why or "")
        webhooks = Webhooks(found.environment)
        await webhooks.done("subscriptions", "pause", "down")
        told = await webhooks.run("event", f"{found.topic}-0-1")
        assert "is paused by its publisher: nothing is sent until it is resumed" in told.out
        assert told.err == "what to do about it: webhooks explain down\n"


QUESTIONS = 200
AT_A_TIME = 8


class Truth:
    """A receiver that fails or rejects each event in a different way, and stores its answers."""

    def __init__(self) -> None:
        self.accepted: set[tuple[str, str]] = set()
        self.rejected: set[tuple[str, str]] = set()
        self.tries: Counter[tuple[str, str]] = Counter()

    async def __call__(self, call: Call) -> web.Response:
        key = call.subscription, call.webhook_id
        self.tries[key] += 1
        number = call.offset % 10
        if number == 3:
            self.rejected.add(key)
            return web.Response(status=400)
        if number in {5, 6} and self.tries[key] < 2:  # accepted at the second attempt
            return web.Response(status=503)
        self.accepted.add(key)
        return web.Response()


@pytest.mark.parametrize("qos", ["at-least-once", "auto"])
@pytest.mark.timeout(900)
async def test_answers_about_an_event_s_fate_are_never_wrong(
    kafka: TestBroker, recorder: Recorder, unique_name: Callable[[str], str], tmp_path: Path, qos: str
) -> None:
    truth, names = Truth(), [f"sub-{number}" for number in range(12)]
    recorder.behaviours = dict.fromkeys(names, truth)
    quick = {"maxAttempts": 5, "initialDelaySeconds": 1, "maxDelaySeconds": 1}
    async with (
        cluster(kafka, unique_name("sent"), tmp_path, partitions=3, dlq=True, qos=qos) as found,
        searching(found) as search,
    ):
        await found.subscribe(recorder, *names, endpoint={"retry": quick})
        first, second = await found.start_worker(), await found.start_worker()
        await found.until_ready(first, second)
        await found.produce((name, b"{}") for name in names * 50)
        await recorder.until_events(300)
        await first.kill()
        await found.produce((name, b"{}") for name in names * 50)
        await recorder.until_events(900)
        third = await found.start_worker()
        await second.terminate()
        await found.produce((name, b"{}") for name in names * 20)
        await recorder.until_events(1440, within_seconds=180)

        async def is_done() -> bool:
            return len(truth.accepted) + len(truth.rejected) == 1440

        await eventually(is_done, within_seconds=180, says=lambda: third.output()[-2000:])
        await third.terminate()
        buried = {dict(record.headers)["dlq.webhook-id"].decode() for record in await kafka.read(f"{found.app}-dlq")}
        events = [(f"{found.topic}-{each.partition}-{each.offset}", each.key) for each in await kafka.read(found.topic)]
        asked = random.Random(7).sample(events, QUESTIONS)
        turn, wrong, unknown = asyncio.Semaphore(AT_A_TIME), [], []

        async def ask(webhook_id: str, key: bytes | None) -> None:
            async with turn:
                [fate] = await search.fate(webhook_id)
            is_true = {
                "delivered": (fate.subscription or "", webhook_id) in truth.accepted,
                "dead-lettered": webhook_id in buried,
                "unknown": fate.why is not None and "was killed" in fate.why,
            }
            if fate.subscription != (key or b"").decode() or not is_true.get(fate.status):
                wrong.append(fate)
            elif fate.status == "unknown":
                unknown.append(fate)

        await asyncio.gather(*(ask(*each) for each in asked))
    assert wrong == []
    assert len(unknown) < len(asked) / 10, unknown
    print(f"{len(asked)} questions, {len(unknown)} of them without an answer, because a worker was killed")
