"""Missing topics are created, and wrong topics are errors."""

import dataclasses
from collections.abc import Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from pipeline.config.definition import Definition
from pipeline.core.errors import BrokerError
from pipeline.core.subscription import Routing
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topics import DeadLetterTopic, Source, count_partitions
from pipeline.runtime.topics import ensure_topics, writable_problems
from tests.support.brokers import TestBroker

COMPACT = {"cleanup.policy": "compact"}


def connection(broker: TestBroker) -> KafkaConnection:
    return KafkaConnection((broker.bootstrap,), embedded=broker.embedded)


@pytest.fixture
async def app(unique_name: Callable[[str], str]) -> str:
    return unique_name("app")


@pytest.fixture
async def definition(kafka: TestBroker, app: str) -> Definition:
    """A source of three partitions with a dead-letter topic."""
    source = await kafka.create_topic(f"{app}.events", 3)
    dlq = await kafka.create_topic(f"{app}.dlq")
    found = connection(kafka)
    return Definition("orders", Source(found, source), DeadLetterTopic(found, dlq), Routing.KEY)


async def topics_of(kafka: TestBroker, app: str) -> set[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        return {name.removeprefix(app) for name in await admin.list_topics() if name.startswith(app)}
    finally:
        await admin.close()


async def test_missing_topics_get_as_many_partitions_as_the_source(
    kafka: TestBroker, definition: Definition, app: str
) -> None:
    changelog = f"{app}-tokens-changelog"
    assert await ensure_topics(definition, app, [changelog]) == []
    found = connection(kafka)
    assert await count_partitions(found, f"{app}.subscriptions") == 1
    assert await count_partitions(found, f"{app}.cursors") == 3
    assert await count_partitions(found, changelog) == 3
    # The second call finds the existing topics, which are compacted.
    assert await ensure_topics(definition, app, [changelog]) == []


async def test_a_check_creates_nothing(kafka: TestBroker, definition: Definition, app: str) -> None:
    assert await ensure_topics(definition, app, [f"{app}-changelog"], create=False) == []
    assert await topics_of(kafka, app) == {".events", ".dlq"}


async def test_a_topic_that_can_not_be_created_is_named(definition: Definition, app: str) -> None:
    problems = await ensure_topics(definition, app, ["not a topic name"], create=False)
    assert len(problems) == 1
    assert problems[0].startswith("topic not a topic name: does not exist and can't be created: ")


async def test_wrong_topic_configurations_are_reported(kafka: TestBroker, definition: Definition, app: str) -> None:
    await kafka.create_topic(f"{app}.subscriptions", 2, COMPACT)
    await kafka.create_topic(f"{app}.cursors", 3, {"cleanup.policy": "delete"})
    await kafka.create_topic(f"{app}-changelog", 4, {"cleanup.policy": "compact,delete"})
    vanish = "it must be compact, because other policies delete rows that are still needed"
    assert await ensure_topics(definition, app, [f"{app}-changelog"]) == [
        f"topic {app}.subscriptions: has 2 partitions; it must have 1 (one, so that its offsets are revisions)",
        f"topic {app}-changelog: has 4 partitions; it must have 3 (as many as {app}.events)",
        f"topic {app}.cursors: cleanup.policy is delete; {vanish}",
        f"topic {app}-changelog: cleanup.policy is compact,delete; {vanish}",
    ]


async def test_a_compacted_source_is_refused(kafka: TestBroker, app: str) -> None:
    source = await kafka.create_topic(f"{app}.events", 1, {"cleanup.policy": "compact,delete"})
    problems = await ensure_topics(Definition("orders", Source(connection(kafka), source)), app)
    assert len(problems) == 1
    assert problems[0].startswith(f"topic {source}: cleanup.policy is compact,delete; the policy of a source must be")


async def test_missing_source_and_dead_letter_topics_are_only_reported(kafka: TestBroker, app: str) -> None:
    found = connection(kafka)
    definition = Definition("orders", Source(found, f"{app}.events"), DeadLetterTopic(found, f"{app}.dlq"))
    problems = await ensure_topics(definition, app)
    where = f"does not exist on {kafka.bootstrap}, or this user may not see it"
    assert problems == [
        f"topic {app}.events: {where}; it is the source: create it first",
        f"topic {app}.dlq: {where}; it is for dead letters: create it first",
    ]
    assert await topics_of(kafka, app) == set()


async def test_checking_the_dead_letter_topic_writes_nothing(
    kafka: TestBroker, definition: Definition, app: str
) -> None:
    assert await ensure_topics(definition, app, create=False) == []
    assert definition.dlq is not None
    assert await kafka.read(definition.dlq.topic) == []


async def test_only_partitions_are_checked_on_the_embedded_broker(
    embedded: TestBroker, unique_name: Callable[[str], str]
) -> None:
    app = unique_name("app")
    found = connection(embedded)
    definition = Definition("orders", Source(found, f"{app}.events"), DeadLetterTopic(found, f"{app}.dlq"))
    for name, partitions in ((".events", 2), (".dlq", 1), (".subscriptions", 1)):
        await embedded.create_topic(f"{app}{name}", partitions)
    missing = f"topic {app}.cursors: does not exist on {embedded.bootstrap}, or this user may not see it"
    assert await ensure_topics(definition, app) == [missing]
    await embedded.create_topic(f"{app}.cursors", 2)
    assert await ensure_topics(definition, app) == []


async def test_an_unreachable_cluster_is_named_in_the_error() -> None:
    nowhere = KafkaConnection(("127.0.0.1:1",))
    with pytest.raises(BrokerError, match=r"^Kafka at 127.0.0.1:1 can't be used: "):
        await ensure_topics(Definition("orders", Source(nowhere, "events")), "app")
    with pytest.raises(BrokerError):
        await count_partitions(nowhere, "events")


async def test_the_dead_letter_topic_may_be_on_another_cluster(
    embedded: TestBroker, definition: Definition, app: str
) -> None:
    await embedded.create_topic("far-dlq")
    far = DeadLetterTopic(connection(embedded), "far-dlq")
    assert await ensure_topics(dataclasses.replace(definition, dlq=far), app, create=False) == []


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (0, None),
        (87, None),
        (29, "topic dlq: this user may not write to it; dead letters need the operation WRITE"),
        (3, "topic dlq: dead letters could not be written: "),
    ],
)
def test_an_empty_write_tells_whether_the_user_may_write(code: int, problem: str | None) -> None:
    found = writable_problems("dlq", code)
    assert len(found) == (problem is not None)
    assert all(sentence.startswith(problem or "") for sentence in found)
