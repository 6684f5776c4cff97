"""The attempts of a subscription, page by page, from a log with attempts of other subscriptions."""

import random
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from pipeline.cluster import attempt_pages
from pipeline.cluster.attempt_search import AttemptSearch
from pipeline.cluster.attempts import Entry, Result, Results, Session, compacted, encode, key_of
from pipeline.config.definition import Definition
from pipeline.core.errors import BrokerError, ConfigurationError
from pipeline.core.subscription import Routing
from pipeline.core.webhook_ids import WebhookIds
from pipeline.kafka.topics import Source, attempts_topic
from tests.support.brokers import TestBroker
from tests.support.fakes import MemoryRegistry

pytestmark = pytest.mark.timeout(120)

HOSTILE = (b"", b"{}", b"\xff\xfe", b'{"v":9}', b'"s"', b'{"kind":"notes","v":1,"entries":[{"subscription":"s"}]}')
NOW = time.time()


def search(broker: TestBroker, app: str, seconds: float = 20.0) -> AttemptSearch:
    definition = Definition("orders", Source(broker.connection, f"{app}-events"), None, Routing.KEY)
    return AttemptSearch(definition, app, MemoryRegistry(), WebhookIds(), seconds=seconds)


async def write(broker: TestBroker, topic: str, records: list[tuple[int, Results | Session | bytes, float]]) -> None:
    """Append records to their partitions, with their times."""
    async with broker.producer() as producer:
        for partition, record, at in records:
            value = record if isinstance(record, bytes) else encode(record)
            key = key_of("events", partition, is_late=False)
            await producer.send(topic, value, key=key, partition=partition, timestamp_ms=int(at * 1000))


def drawn(chance: random.Random, number: int, partition: int, at: float) -> Results:
    """Results of two subscriptions."""
    results = Results("w", "events", partition, at)
    for name in ("s", "other"):
        offsets = [10 * number + each for each in range(chance.randrange(3))]
        if offsets:
            results.delivered.append((name, "host", 1, 200, compacted(offsets), [5] * len(offsets)))
    if chance.random() < 0.2:
        results.entries.append(Result("s", 10 * number + 9, at - 0.1, "retry", status=503, attempt=1))
    return results


async def test_pages_show_each_entry_once_newest_first(
    broker: TestBroker, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_pages, "FEW_RECORDS", 20)
    app, chance = unique_name("pages"), random.Random(3)
    topic = await broker.create_topic(attempts_topic(app), 2)
    records: list[tuple[int, Results | Session | bytes, float]] = []
    expected: list[Entry] = []
    at = NOW - 7_200
    for number in range(300):
        at += chance.choice([0.2, 0.2, 5, 60])
        partition = chance.randrange(2)
        results = drawn(chance, number, partition, at)
        records.append((partition, results, at))
        expected += results.of("s")
        if number % 17 == 0:
            records.append((partition, chance.choice(HOSTILE), at))
            records.append((partition, Session("w", at, NOW, "all"), at))
    await write(broker, topic, records)

    shown: list[Entry] = []
    after, pages = None, 0
    while pages == 0 or after is not None:
        page = await search(broker, app).attempts("s", after, 17)
        assert len(page.items) <= 17
        shown += page.items
        after, pages = page.next, pages + 1

    assert len(shown) == len(expected)
    assert {(each.webhook_id, each.result.decision) for each in shown} == {
        (each.webhook_id, each.result.decision) for each in expected
    }
    times = [each.result.at for each in shown]
    assert all(newer >= older - 0.3 for newer, older in pairwise(times))
    assert pages > len(expected) // 17

    of_one = expected[-1].webhook_id
    page = await search(broker, app).attempts("s", webhook_id=of_one)
    assert len(page.items) == sum(each.webhook_id == of_one for each in expected)
    assert {each.webhook_id for each in page.items} == {of_one}


async def test_a_search_that_times_out_says_how_far_it_read(
    broker: TestBroker, unique_name: Callable[[str], str]
) -> None:
    app, chance = unique_name("pages"), random.Random(3)
    topic = await broker.create_topic(attempts_topic(app), 1)
    await write(broker, topic, [(0, drawn(chance, each, 0, NOW - each), NOW - each) for each in range(20, 0, -1)])

    page = await search(broker, app, seconds=0.0).attempts("s")

    assert (page.items, page.searched_to is None) == ((), False)
    assert page.next is not None
    rest = await search(broker, app).attempts("s", page.next, 1000)
    assert (len(rest.items) > 10, rest.next, rest.searched_to) == (True, None, None)


async def test_an_unknown_subscription_has_no_attempts(broker: TestBroker, unique_name: Callable[[str], str]) -> None:
    app = unique_name("pages")
    await broker.create_topic(attempts_topic(app), 1)
    assert await search(broker, app).attempts("s") == attempt_pages.AttemptPage((), None, None)


@pytest.mark.parametrize("after", ["", "1", "1.2.3", "a.b.c.d", "1.2.3.-4", "1.2.3.4.5"])
async def test_a_page_begins_where_the_previous_one_ended(embedded: TestBroker, after: str) -> None:
    with pytest.raises(ConfigurationError, match="is not the `next` of an answer"):
        await search(embedded, "nowhere").attempts("s", after)


async def test_a_missing_log_is_reported(broker: TestBroker, unique_name: Callable[[str], str]) -> None:
    app = unique_name("pages")
    with pytest.raises(BrokerError, match=f"topic {app}.attempts: does not exist"):
        await search(broker, app).attempts("s")
