"""The events of a partition without a leader wait, and everything else continues. An unknown topic is an error."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from cryptography.fernet import Fernet

from pipeline.cluster.positions import find_positions
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import BrokerError
from pipeline.core.subscription import Routing, Subscription
from pipeline.kafka.bounded_reading import newest_keys
from pipeline.kafka.cursor_rows import read_rows
from pipeline.kafka.letters import newest, opened_letters
from pipeline.kafka.topics import DeadLetterTopic, Source, count_partitions
from pipeline.runtime.initial_offsets import fix_beginning
from pipeline.runtime.preflight import examine
from pipeline.runtime.topics import ensure_topics
from pipeline.worker import _until_possible
from tests.support.brokers import TestBroker
from tests.support.definitions import definition_document
from tests.support.free_ports import free_port
from tests.support.waiting import eventually


@pytest.fixture
async def definition(embedded: TestBroker, unique_name: Callable[[str], str]) -> Definition:
    """Topics with three partitions, of which one has no leader."""
    assert embedded.mock is not None
    app = unique_name("app")
    source, dlq = f"{app}.events", f"{app}.dlq"
    for name in (source, dlq, f"{app}.cursors", f"{app}-tokens-changelog"):
        await embedded.create_topic(name, 3)
    await embedded.create_topic(f"{app}.subscriptions", 1)
    for name in (source, dlq):
        embedded.mock.lead(name, 1, None)
    return Definition(app, Source(embedded.connection, source), DeadLetterTopic(embedded.connection, dlq), Routing.KEY)


async def test_a_topic_with_a_leaderless_partition_counts_as_existing(
    embedded: TestBroker, definition: Definition
) -> None:
    assert await count_partitions(embedded.connection, definition.source.topic) == 3
    assert await ensure_topics(definition, definition.name, [f"{definition.name}-tokens-changelog"]) == []


async def test_partitions_without_a_leader_are_named(definition: Definition) -> None:
    findings = await examine(definition, definition.name, create=True)
    assert findings.problems == ()
    assert findings.counts == {definition.source.topic: 3}
    assert findings.warnings == (
        f"topic {definition.source.topic}: partition 1 has no leader; the records in it wait until a broker leads it",
        f"topic {definition.name}.dlq: partition 1 has no leader; the records in it wait until a broker leads it",
    )


async def test_dead_letters_of_the_other_partitions_are_read(embedded: TestBroker, definition: Definition) -> None:
    dlq = definition.dlq
    assert dlq is not None
    await embedded.produce(dlq.topic, (b"sub-1", b"a"), partition=2)
    async with opened_letters(dlq) as reader:
        assert [letter.place for letter in await newest(reader, 10)] == [f"{dlq.topic}-2-0"]
        assert reader.troubles == [
            f"topic {dlq.topic}: partition 1 has no leader; the records in it wait until a broker leads it"
        ]


async def test_keys_and_rows_of_the_other_partitions_are_read(embedded: TestBroker, definition: Definition) -> None:
    source, cursors = definition.source, f"{definition.name}.cursors"
    row = b'{"next":3,"status":"started"}'
    for number in range(3):
        await embedded.produce(cursors, (b"sub-1", row), partition=number)
    assert embedded.mock is not None
    embedded.mock.lead(cursors, 0, None)
    await embedded.produce(source.topic, (b"sub-1", b"a"), partition=2)

    assert await newest_keys(source.connection, source.topic, 10) == [b"sub-1"]
    rows = await read_rows(source.connection, cursors, source.topics)
    assert [(each.partition, each.end, each.waiting_at_most) for each in rows.found] == [(1, None, None), (2, 1, 0)]
    assert [trouble.split(";")[0] for trouble in rows.troubles] == [
        f"topic {cursors}: partition 0 has no leader",
        f"topic {source.topic}: partition 1 has no leader",
    ]


async def test_positions_are_shown_although_a_partition_has_no_leader(
    definition: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEBHOOKS_SECRET_KEYS", Fernet.generate_key().decode())
    monkeypatch.setenv("WEBHOOKS_API", "api.json")
    settings = Settings(app=definition.name)
    found = await find_positions(settings, definition, [Subscription("sub-1", 0, "https://receiver.example")])
    assert [(each.partition, each.unknown) for each in found["sub-1"]] == [
        (0, "no worker has opened this partition yet"),
        (1, f"partition 1 of topic {definition.source.topic} has no leader"),
        (2, "no worker has opened this partition yet"),
    ]


async def test_a_first_start_with_latest_needs_a_leader_everywhere(definition: Definition) -> None:
    topic = definition.source.topic
    with pytest.raises(BrokerError, match=rf"^topic {topic}: partition 1 has no leader; .*\ntopic {topic}: the first"):
        await fix_beginning(replace(definition.source, auto_offset_reset="latest"), definition.name, 3)
    assert await fix_beginning(replace(definition.source, auto_offset_reset="earliest"), definition.name, 3) == {}


async def test_a_worker_waits_for_a_leader_of_each_tokens_partition(
    embedded: TestBroker, definition: Definition, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Faust reads the partitions of tokens before any event, and hangs if it starts while one has no leader."""
    assert embedded.mock is not None
    app, tokens, port = definition.name, f"{definition.name}-tokens-changelog", free_port()
    document = definition_document(embedded, definition.source.topic, dlq=f"{app}.dlq", entrypoint={})
    (tmp_path / "api.json").write_text(json.dumps(document))
    monkeypatch.setenv("WEBHOOKS_SECRET_KEYS", Fernet.generate_key().decode())
    settings = Settings(app=app, api=tmp_path / "api.json", web_port=port)
    embedded.mock.lead(tokens, 1, None)
    found = await examine(definition, app, create=True)
    waiting = asyncio.create_task(_until_possible(settings, definition, found, with_web=True))

    async def says_why() -> bool:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}/health/ready") as answer,
            ):
                return f"topic {tokens}: partition 1 has no leader" in (await answer.json())["detail"]
        except aiohttp.ClientError:
            return False

    await eventually(says_why, within_seconds=20, says=lambda: "no answer")
    assert not waiting.done()
    embedded.mock.lead(tokens, 1, 1)
    assert (await waiting).awaited == ()
