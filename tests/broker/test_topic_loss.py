"""The effects of losing `<app>.cursors` or `<app>.subscriptions`, without and with a backup."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from pipeline.cluster.restore import Restore
from pipeline.core.model import Status
from pipeline.kafka.kept_state import read_state
from pipeline.kafka.topics import cursors_topic, tokens_topic
from pipeline.runtime.topics import ensure_topics
from pipeline.subscriptions.edits import PAUSE, RESUME
from tests.broker.test_backup import backed_up
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Recorder
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def found(
    kafka: TestBroker, tmp_path: Path, unique_name: Callable[[str], str], recorder: Recorder
) -> AsyncIterator[Cluster]:
    """Five events before the committed offset. Subscription `on` has got them, and `off`, which is paused, has not."""
    async with cluster(kafka, unique_name("loss"), tmp_path, partitions=1, routing="match") as found:
        await found.subscribe(recorder, "on", "off")
        await found.store.edit("off", PAUSE)
        await deliver(found, recorder, 5, "on")
        yield found


async def deliver(found: Cluster, recorder: Recorder, count: int, *names: str) -> None:
    """Run a worker until *count* new events have reached these subscriptions, then stop it."""
    worker = await found.start_worker()
    await found.until_ready(worker, within_seconds=120)
    before = {name: len(recorder.of(name)) for name in names}
    await found.produce([("any", b"{}")] * count)
    await recorder.until(
        lambda: all(len(recorder.of(name)) >= before[name] + count for name in names), within_seconds=60
    )
    assert await worker.terminate() == 0


def offsets(recorder: Recorder, name: str) -> list[int]:
    return [call.offset for call in recorder.of(name)]


async def lose(found: Cluster, topic: str) -> None:
    """Delete a topic, and create it again with `webhooks check`."""
    admin = AIOKafkaAdminClient(**found.broker.connection.client_options())
    try:
        await admin.start()
        await admin.delete_topics([topic])

        async def is_gone() -> bool:
            return topic not in await admin.list_topics()

        await eventually(is_gone, within_seconds=30, says=lambda: f"{topic} is still there")
    finally:
        await admin.close()
    assert await ensure_topics(found.definition, found.app, [tokens_topic(found.app)]) == []


async def test_without_its_row_a_paused_subscription_misses_events(found: Cluster, recorder: Recorder) -> None:
    backup = await backed_up(found)
    await lose(found, cursors_topic(found.app))
    await found.store.edit("off", RESUME)
    await deliver(found, recorder, 1, "on", "off")
    assert offsets(recorder, "off") == [5], "what waited before the committed offset is not sent"
    assert ["cursor rows may be lost" in worker.output() for worker in found.workers] == [False, True]
    assert offsets(recorder, "on") == [0, 1, 2, 3, 4, 5]

    now = await read_state(found.definition.source, found.app)
    await Restore(backup, now, found.app, found.definition.source, keeps_subscriptions=True).carry_out()

    worker = await found.start_worker()
    await found.until_ready(worker, within_seconds=120)
    await recorder.until(lambda: len(recorder.of("off")) >= 7 and len(recorder.of("on")) >= 7, within_seconds=60)
    assert offsets(recorder, "off") == [5, 0, 1, 2, 3, 4, 5]
    assert offsets(recorder, "on") == [0, 1, 2, 3, 4, 5, 5], "what was delivered since the backup is sent again"


async def test_restored_subscriptions_continue_without_repeats(found: Cluster, recorder: Recorder) -> None:
    """The state is restored to a new topic of subscriptions, in which revisions begin again."""
    for _ in range(3):  # more revisions than the new topic has
        await found.store.edit("on", PAUSE)
        await found.store.edit("on", RESUME)
    await deliver(found, recorder, 1, "on")
    backup = await backed_up(found)
    await lose(found, f"{found.app}.subscriptions")
    now = replace(await read_state(found.definition.source, found.app), subscriptions=())

    await Restore(backup, now, found.app, found.definition.source, keeps_positions=True).carry_out()

    row = await found.until_row("off", status=Status.PAUSED)
    assert row.next == 0
    await deliver(found, recorder, 1, "on")
    assert offsets(recorder, "on") == [0, 1, 2, 3, 4, 5, 6], "nothing is repeated"
