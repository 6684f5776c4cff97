"""The topics that deliveries do not need: they record what happens. If one is missing, there is only a warning.

    <app>.workers     the state of each worker, every two seconds; for an hour
    <app>.attempts    the results of attempts and events; for three days
    <app>.events      the notifications to operators; for seven days
    <app>.audit       who changed what, through the API or by a command; for thirty days

A missing topic is created if this user may create it. If not, a sentence says what does not work without the topic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code

from pipeline.config.definition import Definition
from pipeline.kafka.admin import administration, partition_counts
from pipeline.kafka.topics import attempts_topic, audit_topic, events_topic, workers_topic

BROKER_DEFAULT: Final = -1
"""Replication factor: the broker's default."""
MOST_LOG_PARTITIONS: Final = 12
"""The limit for the attempt log, which otherwise has as many partitions as the source."""


@dataclass(frozen=True, slots=True)
class SideTopic:
    """A topic that deliveries do not need.

    Attributes:
        partitions: how many partitions it is created with; an existing topic may have another number.
        purpose: what does not work without it, as the end of a sentence.
        config: the configuration that it is created with.
    """

    name: str
    partitions: int
    purpose: str
    config: Mapping[str, str] = field(default_factory=dict)


def side_topics(app: str, source_partitions: int = 1) -> tuple[SideTopic, ...]:
    """All side topics of an application, whose largest source topic has *source_partitions* partitions."""
    return (
        SideTopic(
            workers_topic(app),
            1,
            "pages can't show what each worker delivers",
            {
                # A worker writes its whole state every two seconds, so records older than an hour are useless.
                # Compaction alone would keep the last record of every worker that was ever killed. Segments are small,
                # because a worker has to read the whole active segment, which compaction skips.
                "cleanup.policy": "compact,delete",
                "retention.ms": "3600000",
                "segment.ms": "600000",
                # A view that has just begun judges from the time of the newest announcement whether its worker is
                # gone. By the worker's own clock, a worker whose clock is slow would be.
                "message.timestamp.type": "LogAppendTime",
            },
        ),
        SideTopic(
            attempts_topic(app),
            min(source_partitions, MOST_LOG_PARTITIONS),
            "the history of an event can't be shown",
            # Retention deletes whole segments.
            {"cleanup.policy": "delete", "retention.ms": "259200000", "segment.ms": "10800000"},
        ),
        SideTopic(
            events_topic(app),
            1,
            "notifications are not kept",
            {"cleanup.policy": "delete", "retention.ms": "604800000", "segment.ms": "86400000"},
        ),
        SideTopic(
            audit_topic(app),
            1,
            "changes are recorded only in the workers' logs, and an Idempotency-Key has no effect",
            {"cleanup.policy": "delete", "retention.ms": "2592000000", "segment.ms": "86400000"},
        ),
    )


async def ensure_side_topics(definition: Definition, app: str, *, create: bool) -> list[str]:
    """Create missing side topics, or only ask whether this user may create them.

    Returns:
        One sentence for each topic that is missing and can't be created, beginning with the topic.

    Raises:
        BrokerError: the cluster can't be reached.
    """
    connection = definition.source.connection
    if connection.embedded:
        return []  # its topics are not created with an admin client
    async with administration(connection) as admin:
        found = await partition_counts(admin)
        wanted = side_topics(app, max(found.get(topic, 1) for topic in definition.source.topics))
        missing = [each for each in wanted if each.name not in found]
        return [problem for each in missing if (problem := await _create(admin, each, create=create)) is not None]


async def _create(admin: AIOKafkaAdminClient, topic: SideTopic, *, create: bool) -> str | None:
    new = NewTopic(topic.name, topic.partitions, BROKER_DEFAULT, {}, dict(topic.config))
    [(_, code, *reason)] = (await admin.create_topics([new], validate_only=not create)).topic_errors
    error = for_code(code)
    if error in {NoError, TopicAlreadyExistsError}:
        return None
    detail = (reason[0] if reason else None) or error.description or error.message
    return f"topic {topic.name}: does not exist and can't be created: {detail}; {topic.purpose}"
