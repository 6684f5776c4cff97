"""The numbers of waiting events that `webhooks subscriptions` shows with `routing: match`."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.model import Cause, Cursor, Status
from pipeline.kafka.cursors import KafkaRows
from tests.support.brokers import TestBroker
from tests.support.program import Webhooks, definition, write_application

pytestmark = pytest.mark.timeout(180)

FAILED = Cursor(1, Status.FAILURE, Cause("gone", "the callback answered 410", 1, 0.0), revision=0)


@pytest.fixture
async def webhooks(kafka: TestBroker, tmp_path: Path, unique_name: Callable[[str], str]) -> Webhooks:
    """Two partitions of six events. Every second event is paid; `paid` gets the paid events from the beginning."""
    name = unique_name("positions")
    source = await kafka.create_topic(f"{name}-events", 2)
    document = definition(kafka.bootstrap, source)
    document["listeners"][0]["entrypoints"][0]["routing"] = "match"  # type: ignore[index]  # a plain document
    found = write_application(tmp_path, name, document)
    await found.done("check")
    kinds = 3 * (b"sent", b"paid")
    for partition in range(2):
        await kafka.produce(source, *((b"order-1", b'{"kind": "%s"}' % kind) for kind in kinds), partition=partition)
    wanted = {"callbackUrl": "http://127.0.0.1:9/", "filter": {"exact": {"/kind": "paid"}}}
    paid = {"id": "paid", "startFrom": "earliest", "configuration": wanted}
    await found.done("subscriptions", "apply", "-f", "-", stdin=json.dumps(paid).encode())
    return found


async def note(webhooks: Webhooks, kafka: TestBroker, partition: int, row: Cursor) -> None:
    """Write a row like the owner of its partition."""
    topic = f"{webhooks.environment['WEBHOOKS_APP']}.cursors"
    store = KafkaRows(kafka.connection, topic, partition, on_written=lambda _: None)
    await store.open()
    try:
        await store.put(b"paid", row)
    finally:
        await store.close()


async def test_events_of_a_filter_are_counted_in_all_partitions(webhooks: Webhooks, kafka: TestBroker) -> None:
    other = {"id": "other", "configuration": {"callbackUrl": "http://127.0.0.1:9/"}}
    await webhooks.done("subscriptions", "apply", "-f", "-", stdin=json.dumps(other).encode())
    await webhooks.done("send", "other", '{"kind": "paid"}')
    await webhooks.done("send", "paid", '{"kind": "sent"}')
    sent_to = {record.partition for record in await kafka.read(source_of(webhooks)) if record.key == b"paid"}
    ended = await webhooks.run("subscriptions", "pause", "paid", "-o", "json")
    assert {each["partition"]: each["waitingAtMost"] for each in json.loads(ended.out)["partitions"]} == {
        number: 3 + (number in sent_to) for number in range(2)
    }


async def test_a_skip_considers_only_events_of_the_filter(webhooks: Webhooks, kafka: TestBroker) -> None:
    await note(webhooks, kafka, 1, FAILED)
    for offset in (0, 3):
        refused = await webhooks.run("subscriptions", "skip", "paid", "1", str(offset))
        assert (refused.code, refused.out) == (1, "")
        assert f"{offset} is not the next event in partition 1; allowed: 1; nothing was changed" in refused.err
    refused = await webhooks.run("subscriptions", "skip", "paid", "0", "0")
    assert "0 is not the next event in partition 0; allowed: 1; nothing was changed" in refused.err
    later = await webhooks.run("subscriptions", "skip", "paid", "0", "3")
    assert later.err == "partition 0: skips the event at 3, if it is the next event by then; the next one is now 1\n"
    done = await webhooks.run("subscriptions", "skip", "paid", "1", "1")
    assert done.err == "partition 1: skips the event at 1\n"


async def test_skip_finds_the_next_matching_event_after_the_position(webhooks: Webhooks, kafka: TestBroker) -> None:
    await note(webhooks, kafka, 1, Cursor(2, Status.PAUSED, revision=0))
    done = await webhooks.run("subscriptions", "skip", "paid", "1", "3")
    assert (done.code, done.err) == (0, "partition 1: skips the event at 3\n")
    await note(webhooks, kafka, 1, Cursor(6, Status.PAUSED, revision=1))
    refused = await webhooks.run("subscriptions", "skip", "paid", "1", "5")
    assert "allowed: none, because no event is waiting there; nothing was changed" in refused.err


async def test_a_replay_counts_the_events_of_the_filter(webhooks: Webhooks, kafka: TestBroker) -> None:
    await note(webhooks, kafka, 0, Cursor(6, revision=0))
    await note(webhooks, kafka, 1, FAILED)
    again = await webhooks.run("subscriptions", "replay", "paid", "--since", "2020-01-31T12:00:00Z")
    assert again.err.splitlines() == [
        "partition 0: sends up to 3 events again, offsets 0 to 5",
        "partition 1: sends no events again",
    ]
    await note(webhooks, kafka, 1, replace(FAILED, revision=1))
    discards = await webhooks.run(
        "subscriptions", "replay", "paid", "--partition", "1", "--offset", "4", "--discard-waiting"
    )
    assert discards.err == "partition 1: discards up to 2 events, offsets 1 to 3\n"


def source_of(webhooks: Webhooks) -> str:
    """The name of the application's source topic."""
    return f"{webhooks.environment['WEBHOOKS_APP']}-events"
