"""Checks that the topics are as the pipeline needs them, before anything is read or delivered.

    sources                exist; are not compacted, because compaction would remove events
    <app>.subscriptions    one partition, compacted                             created if missing
    <app>.cursors          as many partitions as the largest source, compacted  created if missing, grown if too small
    changelogs of tables   as many partitions as the largest source, compacted  created if missing, grown if too small
    dead letters           exists and can be written to

Problems are returned as sentences; only an unreachable broker is an error.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaError,
    NoError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from aiokafka.protocol.produce import ProduceRequest

from pipeline.config.definition import Definition
from pipeline.core.errors import BrokerError
from pipeline.core.subscription import Routing
from pipeline.kafka.admin import REQUEST_TIMEOUT_MS, administration, partition_counts, unreachable, until_led
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.expansion import grow
from pipeline.kafka.internals import closed
from pipeline.kafka.topics import cursors_topic, missing, subscriptions_topic

logger = logging.getLogger(__name__)

POLICY: Final = "cleanup.policy"
COMPACT: Final = "compact"
_HAS_THE_RIGHT: Final = {0, 2, 87}
"""NONE, CORRUPT_MESSAGE, INVALID_RECORD (Kafka protocol guide): answers after the broker has examined the records."""
BROKER_DEFAULT: Final = -1
"""Replication factor: the broker's default."""


@dataclass(frozen=True, slots=True)
class _Needed:
    """One of the pipeline's own topics."""

    name: str
    partitions: int
    why: str
    may_have_more: bool = False


async def ensure_topics(
    definition: Definition, app: str, changelogs: Sequence[str] = (), *, create: bool = True
) -> list[str]:
    """Create missing topics of the pipeline, and report all other problems.

    Args:
        definition: names the source and the dead-letter topic.
        app: the prefix of the pipeline's own topics.
        changelogs: the changelog topics of tables, with as many partitions as the largest source topic.
        create: if False, nothing is created, and a missing topic is a problem only if this user may not create it.

    Returns:
        One sentence per problem, beginning with the topic; empty if there is none.

    Raises:
        BrokerError: a cluster can't be reached.
    """
    connection, topics = definition.source.connection, definition.source.topics
    problems: list[str] = []
    async with administration(connection) as admin:
        found = await partition_counts(admin)
        absent = [topic for topic in topics if topic not in found]
        problems += [f"{missing(connection, topic)}; it is the source: create it first" for topic in absent]
        if not absent:
            needed = _own_topics(app, definition, found, changelogs)
            if connection.embedded:
                problems += _wrong_counts(needed, found)
                problems += [missing(connection, each.name) for each in needed if each.name not in found]
            else:
                problems += await _grow(admin, needed, found, create=create)
                problems += await _create(admin, [each for each in needed if each.name not in found], create=create)
                problems += await _wrong_policies(admin, topics, [each.name for each in needed if each.name in found])
    if definition.dlq is not None:
        problems += await _examine_dead_letters(definition.dlq.connection, definition.dlq.topic)
    return problems


def _own_topics(app: str, definition: Definition, found: Mapping[str, int], changelogs: Sequence[str]) -> list[_Needed]:
    largest = max(definition.source.topics, key=lambda topic: found[topic])
    partitions, why = found[largest], f"as many as {largest}"
    # More partitions are fine: a former source topic may have had more. But with `key` and a single source topic, any
    # other number is a mistake.
    may_have_more = definition.stated_routing is Routing.MATCH or bool(definition.source.others)
    return [
        _Needed(subscriptions_topic(app), 1, "one, so that its offsets are revisions"),
        *(_Needed(name, partitions, why, may_have_more) for name in (cursors_topic(app), *changelogs)),
    ]


async def _grow(
    admin: AIOKafkaAdminClient, needed: Sequence[_Needed], found: Mapping[str, int], *, create: bool
) -> list[str]:
    small = [each for each in needed if found.get(each.name, each.partitions) < each.partitions]
    problems = await grow(admin, {each.name: each.partitions for each in small}, validate_only=not create)
    return _wrong_counts([each for each in needed if each not in small], found) + problems


def _wrong_counts(needed: Iterable[_Needed], found: Mapping[str, int]) -> list[str]:
    return [
        f"topic {each.name}: has {found[each.name]} partitions; it must have {each.partitions} ({each.why})"
        for each in needed
        if each.name in found
        and found[each.name] != each.partitions
        and not (each.may_have_more and found[each.name] > each.partitions)
    ]


async def _create(admin: AIOKafkaAdminClient, needed: Sequence[_Needed], *, create: bool) -> list[str]:
    if not needed:
        return []
    # The empty assignment makes aiokafka send -1, the broker's default replication factor.
    topics = [NewTopic(each.name, each.partitions, BROKER_DEFAULT, {}, {POLICY: COMPACT}) for each in needed]
    answer = await admin.create_topics(topics, validate_only=not create)
    problems = []
    for name, code, *reason in answer.topic_errors:
        error = for_code(code)
        if error not in {NoError, TopicAlreadyExistsError}:
            detail = (reason[0] if reason else None) or error.description or error.message
            problems.append(f"topic {name}: does not exist and can't be created: {detail}")
        elif create:
            logger.info("topic %s: created", name)
    if create and not problems:
        await until_led(admin, {each.name: range(each.partitions) for each in needed})
    return problems


async def _wrong_policies(admin: AIOKafkaAdminClient, sources: Sequence[str], own: Sequence[str]) -> list[str]:
    policies = await _policies(admin, [*sources, *own])
    problems = [
        f"topic {name}: {POLICY} is {policies[name]}; it must be {COMPACT}, "
        "because other policies delete rows that are still needed"
        for name in own
        if name in policies and policies[name] != COMPACT
    ]
    return problems + [
        f"topic {source}: {POLICY} is {policies[source]}; the policy of a source must be delete, because compaction "
        "keeps only the last event of each key"
        for source in sources
        if COMPACT in policies.get(source, "")
    ]


async def _policies(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, str]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, configs={POLICY: None}) for name in names]
    policies: dict[str, str] = {}
    for answer in await admin.describe_configs(resources):
        for code, message, _type, name, entries in answer.resources:
            if code:
                # The policy may be correct even if this user may not read it. rights.py reports the missing right.
                logger.info("topic %s: its %s can't be read: %s", name, POLICY, message or for_code(code).message)
            for key, value, *_ in entries:
                if key == POLICY:
                    policies[name] = str(value)
    return policies


# -- dead letters --------------------------------------------------------------------------------------------------


async def _examine_dead_letters(connection: KafkaConnection, topic: str) -> list[str]:
    async with administration(connection) as admin:
        partitions = (await partition_counts(admin)).get(topic)
    if partitions is None:
        return [f"{missing(connection, topic)}; it is for dead letters: create it first"]
    if connection.embedded:
        return []
    return await _why_not_writable(connection, topic)


async def _why_not_writable(connection: KafkaConnection, topic: str) -> list[str]:
    """The reasons why dead letters can't be written, found by an empty write to one partition.

    A broker checks the right to write before it examines the records. So INVALID_RECORD means that the right exists and
    that nothing was written. Other problems (the size of a record, missing replicas) only show when a real record is
    written.
    """
    client = AIOKafkaClient(request_timeout_ms=REQUEST_TIMEOUT_MS, **connection.client_options())
    try:
        await client.bootstrap()
        await client.set_topics([topic])
        led = client.cluster.available_partitions_for_topic(topic)
        if not led:
            return []  # there is no broker to ask; preflight.py warns of that
        number = min(led)
        leader = client.cluster.leader_for_partition(TopicPartition(topic, number))
        request = ProduceRequest(None, -1, REQUEST_TIMEOUT_MS, [(topic, [(number, b"")])])
        answer = await client.send(leader, request)
        code = answer.topics[0][1][0][1]
    except (KafkaError, OSError) as error:
        raise BrokerError(unreachable(connection, error)) from error
    finally:
        await closed(client)
    return writable_problems(topic, code)


def writable_problems(topic: str, code: int) -> list[str]:
    """Why dead letters can't be written, according to the answer to an empty write; empty if they can be written."""
    if code in _HAS_THE_RIGHT:
        return []
    error = for_code(code)
    if error is TopicAuthorizationFailedError:
        return [f"topic {topic}: this user may not write to it; dead letters need the operation WRITE"]
    return [f"topic {topic}: dead letters could not be written: {error.description or error.message}"]
