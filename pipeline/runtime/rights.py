"""Finds the rights in Kafka (ACLs) that a worker needs and this user lacks, with the commands that grant them.

`webhooks check` (preflight.py) and a worker (rights_watch.py) report them. The requests change nothing:

    topics, cluster     the operations that the broker lists in its metadata (KIP-430)
    consumer group      a heartbeat of a member that does not exist
    transactional ids   the end of a transaction of a producer that does not exist
    idempotent writing  a request for a producer id that stays unused

For each of these requests, a broker checks the right before it looks at anything else.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.transaction import EndTxnRequest, InitProducerIdRequest

from pipeline.config.definition import Definition
from pipeline.kafka.admin import administration
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.internals import AdminClient
from pipeline.kafka.operations import OPERATIONS, OperationsRequest, operations
from pipeline.kafka.topics import (
    attempts_topic,
    audit_topic,
    cursors_topic,
    events_topic,
    subscriptions_topic,
    tokens_topic,
    workers_topic,
)

logger = logging.getLogger(__name__)

Resource = Literal["topic", "group", "transactional id", "cluster"]
NO_MEMBER: Final = -1
"""The producer id, epoch and generation in a request that only tests a right."""
TRANSACTION_TIMEOUT_MS: Final = 60_000
OPTIONS: Final = {"topic": "--topic", "group": "--group", "transactional id": "--transactional-id"}


@dataclass(frozen=True, slots=True)
class Right:
    """An operation on a resource of a cluster.

    Attributes:
        operation: its name in Kafka's protocol guide, e.g. `READ`.
        name: the name of the resource; for transactional ids, their common prefix.
        purpose: what the right is needed for, as the end of a sentence.
    """

    connection: KafkaConnection
    resource: Resource
    name: str
    operation: str
    purpose: str

    @property
    def subject(self) -> str:
        """The resource, as the beginning of a sentence."""
        return self.resource if self.resource == "cluster" else f"{self.resource} {self.name}"

    def __str__(self) -> str:
        return f"{self.subject}: {self.principal} lacks the right {self.operation} ({self.purpose}); {self.grant}"

    @property
    def principal(self) -> str:
        """The user who lacks the right, if the login has a name."""
        connection = self.connection
        if connection.username is not None:
            return f"User:{connection.username}"
        has_certificate = connection.tls is not None and connection.tls.client_certificate_pem is not None
        return "the user of the client certificate" if has_certificate else "User:ANONYMOUS"

    @property
    def grant(self) -> str:
        """The command with which an administrator can grant it."""
        principal = self.principal if self.principal.startswith("User:") else "User:NAME"
        words = ["kafka-acls --bootstrap-server", ",".join(self.connection.bootstrap_servers)]
        words += ["--add --allow-principal", principal, "--operation", _spoken(self.operation)]
        if self.resource == "cluster":
            words.append("--cluster")
        else:
            words += [OPTIONS[self.resource], self.name]
        if self.resource == "transactional id":
            words.append("--resource-pattern-type prefixed")
        return "grant it with " + " ".join(words)


def _spoken(operation: str) -> str:
    """`DESCRIBE_CONFIGS` in the spelling of kafka-acls: `DescribeConfigs`."""
    return "".join(word.capitalize() for word in operation.split("_"))


@dataclass(frozen=True, slots=True)
class Rights:
    """The missing rights.

    Attributes:
        needed: the rights that a worker requires.
        useful: the rights that only other functions need.
    """

    needed: tuple[Right, ...] = ()
    useful: tuple[Right, ...] = ()


async def missing_rights(definition: Definition, app: str, partitions: Iterable[int]) -> Rights:
    """Ask the brokers of the source topics and of the dead letters.

    Args:
        definition: names the source and the dead-letter topic.
        app: the consumer group, and the prefix of topics and transactional ids.
        partitions: the partitions of the source whose transactional ids are checked.

    Raises:
        BrokerError: a cluster can't be reached.
    """
    source, dlq = definition.source, definition.dlq
    needed: list[Right] = []
    useful: list[Right] = []
    if not source.connection.embedded:
        async with administration(source.connection) as admin:
            wanted = list(_of_topics(source.connection, source.topics, app))
            needed += await _missing_of_topics(admin, wanted)
            needed += await _missing_of_group(admin, source.connection, app)
            needed += await _missing_of_transactions(admin, source.connection, app, partitions)
            described = {right.name for right in needed if right.resource == "topic"}
            beside = [each for each in _beside(source.connection, source.topics, app) if each.name not in described]
            useful += await _missing_of_topics(admin, beside)
    if dlq is not None and not dlq.connection.embedded:
        async with administration(dlq.connection) as admin:
            needed += await _missing_of_dead_letters(admin, dlq.connection, dlq.topic)
    return Rights(tuple(needed), tuple(useful))


def _of_topics(connection: KafkaConnection, sources: Sequence[str], app: str) -> Iterator[Right]:
    right = partial(Right, connection, "topic")
    cursors, tokens, subscriptions = cursors_topic(app), tokens_topic(app), subscriptions_topic(app)
    for name in sources:
        yield right(name, "READ", "to read the events")
    yield right(subscriptions, "READ", "to read the subscriptions")
    yield right(cursors, "READ", "to load cursors")
    yield right(cursors, "WRITE", "to write cursors")
    yield right(tokens, "READ", "to load access tokens")
    yield right(tokens, "WRITE", "to store access tokens")
    for name in (subscriptions, cursors, tokens):
        yield right(name, "CREATE", "to create the topic, which does not exist")


def _beside(connection: KafkaConnection, sources: Sequence[str], app: str) -> Iterator[Right]:
    right = partial(Right, connection, "topic")
    cursors, tokens, subscriptions = cursors_topic(app), tokens_topic(app), subscriptions_topic(app)
    yield right(subscriptions, "WRITE", "only `webhooks subscriptions` needs it, to make changes")
    workers = workers_topic(app)
    for operation in ("READ", "WRITE"):
        yield right(workers, operation, "to show what every worker does; deliveries don't need it")
    attempts = attempts_topic(app)
    yield right(attempts, "WRITE", "to log attempts; deliveries don't need it")
    yield right(attempts, "READ", "to find attempts in their log; deliveries don't need it")
    audit = audit_topic(app)
    yield right(audit, "WRITE", "to record who changed what; deliveries don't need it")
    yield right(audit, "READ", "to recognise requests that are repeated; deliveries don't need it")
    events = events_topic(app)
    yield right(events, "WRITE", "to notify operators; deliveries don't need it")
    for name in (workers, attempts, audit, events):
        yield right(name, "CREATE", "to create the topic, which does not exist")
    for name in (cursors, tokens):
        yield right(name, "ALTER", f"to add partitions when {' or '.join(sources)} gets more partitions")
    for name in (*sources, subscriptions, cursors, tokens):
        yield right(name, "DESCRIBE_CONFIGS", "to check its cleanup.policy")


async def _missing_of_topics(admin: AdminClient, wanted: Sequence[Right]) -> list[Right]:
    try:
        answer = await admin.ask(OperationsRequest(list(dict.fromkeys(right.name for right in wanted))))
    except NotImplementedError:  # the broker supports no version of the request that aiokafka knows
        logger.info("can't check the rights to topics: the broker is older than Kafka 2.3")
        return []
    may_create = OPERATIONS["CREATE"] in operations(answer.cluster_authorized_operations)
    found = {topic[1]: (for_code(topic[0]), operations(topic[-1])) for topic in answer.topics}
    missing = []
    for right in wanted:
        error, allowed = found[right.name]
        if right.operation == "CREATE":
            # Without the right to see a topic, the broker does not tell whether it exists. So this right comes first.
            is_missing = (
                error is UnknownTopicOrPartitionError and not may_create and OPERATIONS["CREATE"] not in allowed
            )
        else:
            is_missing = error is TopicAuthorizationFailedError or OPERATIONS[right.operation] not in allowed
        if is_missing:
            missing.append(right)
    return missing


async def _missing_of_group(admin: AdminClient, connection: KafkaConnection, app: str) -> list[Right]:
    answer = await admin.ask(HeartbeatRequest(app, NO_MEMBER, ""))
    right = Right(connection, "group", app, "READ", "to join the consumer group and to commit offsets")
    return [right] if _is(answer, GroupAuthorizationFailedError) else []


async def _missing_of_transactions(
    admin: AdminClient, connection: KafkaConnection, app: str, partitions: Iterable[int]
) -> list[Right]:
    prefix = f"{cursors_topic(app)}."
    for number in partitions:
        answer = await admin.ask(EndTxnRequest(f"{prefix}{number}", NO_MEMBER, NO_MEMBER, transaction_result=False))
        if _is(answer, TransactionalIdAuthorizationFailed):
            return [Right(connection, "transactional id", prefix, "WRITE", "to write cursors as their only owner")]
    return []


async def _missing_of_dead_letters(admin: AdminClient, connection: KafkaConnection, topic: str) -> list[Right]:
    missing = await _missing_of_topics(admin, [Right(connection, "topic", topic, "WRITE", "to write dead letters")])
    if missing:
        return missing
    # Since Kafka 3.0, a right to write to any topic includes the right to idempotent writes.
    answer = await admin.ask(InitProducerIdRequest(None, TRANSACTION_TIMEOUT_MS))
    right = Right(connection, "cluster", "", "IDEMPOTENT_WRITE", "to write dead letters without duplicates")
    return [right] if _is(answer, ClusterAuthorizationFailedError) else []


def _is(answer: Any, error: type[Exception]) -> bool:
    return for_code(answer.error_code) is error
