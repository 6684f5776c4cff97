"""Topics that only inform operators are created if that is allowed. A worker starts without them."""

from collections.abc import Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from pipeline.config.definition import Definition
from pipeline.core.subscription import Routing
from pipeline.kafka.topics import Source, attempts_topic, audit_topic, count_partitions, workers_topic
from pipeline.runtime.preflight import examine
from pipeline.runtime.side_topics import ensure_side_topics
from tests.support.brokers import TestBroker

pytestmark = pytest.mark.timeout(60)


async def configured(kafka: TestBroker, topic: str) -> dict[str, str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await admin.close()
    [(_code, _message, _type, _name, entries)] = answer.resources
    return {name: value for name, value, *_ in entries}


async def test_the_workers_topic_is_created_with_a_short_retention(
    kafka: TestBroker, unique_name: Callable[[str], str]
) -> None:
    app = unique_name("side")
    await kafka.create_topic(f"{app}-events", 2)
    definition = Definition("orders", Source(kafka.connection, f"{app}-events"), None, Routing.KEY)
    findings = await examine(definition, app, create=True)
    name = workers_topic(app)
    assert f"topic {name}: created, 1 partition" in findings.facts
    assert (findings.problems, findings.warnings) == ((), ())
    await kafka.until_led(name, 1)
    assert await count_partitions(kafka.connection, name) == 1
    config = await configured(kafka, name)
    assert config["cleanup.policy"] == "compact,delete"
    assert int(config["segment.ms"]) < int(config["retention.ms"])
    # The second call finds the existing topic.
    assert await ensure_side_topics(definition, app, create=True) == []


async def test_the_attempts_topic_has_as_many_partitions_as_the_source(
    kafka: TestBroker, unique_name: Callable[[str], str]
) -> None:
    for partitions, expected in ((2, 2), (14, 12)):
        app = unique_name("side")
        await kafka.create_topic(f"{app}-events", partitions)
        definition = Definition("orders", Source(kafka.connection, f"{app}-events"), None, Routing.KEY)
        assert await ensure_side_topics(definition, app, create=True) == []
        await kafka.until_led(attempts_topic(app), expected)
        assert await count_partitions(kafka.connection, attempts_topic(app)) == expected
        config = await configured(kafka, attempts_topic(app))
        assert config["cleanup.policy"] == "delete"
        assert int(config["segment.ms"]) < int(config["retention.ms"])


async def test_the_audit_topic_has_one_partition_for_a_month(
    kafka: TestBroker, unique_name: Callable[[str], str]
) -> None:
    app = unique_name("side")
    await kafka.create_topic(f"{app}-events", 4)
    definition = Definition("orders", Source(kafka.connection, f"{app}-events"), None, Routing.KEY)
    assert await ensure_side_topics(definition, app, create=True) == []
    await kafka.until_led(audit_topic(app), 1)
    assert await count_partitions(kafka.connection, audit_topic(app)) == 1
    config = await configured(kafka, audit_topic(app))
    assert (config["cleanup.policy"], int(config["retention.ms"])) == ("delete", 30 * 86_400_000)


async def test_a_side_topic_that_can_t_be_created_is_a_warning(
    kafka: TestBroker, unique_name: Callable[[str], str]
) -> None:
    definition = Definition("orders", Source(kafka.connection, unique_name("side")), None, Routing.KEY)
    found = await ensure_side_topics(definition, "not a name", create=False)
    for warning, name in zip(found, ("workers", "attempts", "events", "audit"), strict=True):
        assert warning.startswith(f"topic not a name.{name}: does not exist and can't be created: ")
    assert found[0].endswith("; pages can't show what each worker delivers")
