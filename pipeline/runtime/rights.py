"""What this user may do in Kafka (its ACLs, say), and what a worker needs: which rights are missing, and what mends it.

`webhooks check` names them (preflight.py), and so does a worker (allowance.py). Nothing is changed by asking:

    topics, cluster     the operations that the broker itself names with its metadata (KIP-430)
    consumer group      a heartbeat of a member that does not exist
    transactional ids   the end of a transaction of a producer that does not exist
    idempotent writing  a producer id that nobody uses

A broker judges the right to each of these before it looks at the rest of the request.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
from pipeline.kafka.topics import cursors_topic, subscriptions_topic, tokens_topic

logger = logging.getLogger(__name__)

Resource = Literal["topic", "group", "transactional id", "cluster"]
NOBODY: Final = -1
"""The producer id, epoch and generation of a request that is only to be judged."""
TRANSACTION_TIMEOUT_MS: Final = 60_000
OPTIONS: Final = {"topic": "--topic", "group": "--group", "transactional id": "--transactional-id"}


@dataclass(frozen=True, slots=True)
class Right:
    """An operation on a resource of a cluster.

    Attributes:
        operation: as Kafka's protocol guide calls it, e.g. `READ`.
        name: of the resource; of transactional ids the beginning of them all.
        purpose: what it is needed for, the end of a sentence.
    """

    connection: KafkaConnection
    resource: Resource
    name: str
    operation: str
    purpose: str

    @property
    def subject(self) -> str:
        """The resource, as sentences about it begin."""
        return self.resource if self.resource == "cluster" else f"{self.resource} {self.name}"

    def __str__(self) -> str:
        return f"{self.subject}: {self.principal} lacks the right {self.operation} ({self.purpose}); {self.grant}"

    @property
    def principal(self) -> str:
        """Who lacks it: known where people log in with a name."""
        connection = self.connection
        if connection.username is not None:
            return f"User:{connection.username}"
        has_certificate = connection.tls is not None and connection.tls.client_certificate_pem is not None
        return "the user of the client certificate" if has_certificate else "User:ANONYMOUS"

    @property
    def grant(self) -> str:
        """The command that gives it, for somebody who may."""
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
    """`DESCRIBE_CONFIGS` as kafka-acls takes it: `DescribeConfigs`."""
    return "".join(word.capitalize() for word in operation.split("_"))


@dataclass(frozen=True, slots=True)
class Rights:
    """What is missing.

    Attributes:
        needed: without these a worker does not work.
        useful: without these something beside it does not.
    """

    needed: tuple[Right, ...] = ()
    useful: tuple[Right, ...] = ()


async def missing_rights(definition: Definition, app: str, partitions: Iterable[int]) -> Rights:
    """Ask the brokers of the source and of the dead letters.

    Args:
        definition: names the source and the dead-letter topic.
        app: consumer group, and the beginning of the names of topics and transactional ids.
        partitions: of the source, whose transactional ids are asked for.

    Raises:
        BrokerError: a cluster can't be reached.
    """
    source, dlq = definition.source, definition.dlq
    needed: list[Right] = []
    useful: list[Right] = []
    if not source.connection.embedded:
        async with administration(source.connection) as admin:
            wanted = list(_of_topics(source.connection, source.topic, app))
            needed += await _missing_of_topics(admin, wanted)
            needed += await _missing_of_group(admin, source.connection, app)
            needed += await _missing_of_transactions(admin, source.connection, app, partitions)
            described = {right.name for right in needed if right.resource == "topic"}
            beside = [each for each in _beside(source.connection, source.topic, app) if each.name not in described]
            useful += await _missing_of_topics(admin, beside)
    if dlq is not None and not dlq.connection.embedded:
        async with administration(dlq.connection) as admin:
            needed += await _missing_of_dead_letters(admin, dlq.connection, dlq.topic)
    return Rights(tuple(needed), tuple(useful))


def _of_topics(connection: KafkaConnection, source: str, app: str) -> Iterator[Right]:
    cursors, tokens, subscriptions = cursors_topic(app), tokens_topic(app), subscriptions_topic(app)
    yield Right(connection, "topic", source, "READ", "to read the events")
    yield Right(connection, "topic", subscriptions, "READ", "to know the subscriptions")
    yield Right(connection, "topic", cursors, "READ", "to load where subscriptions stand")
    yield Right(connection, "topic", cursors, "WRITE", "to note where subscriptions stand")
    yield Right(connection, "topic", tokens, "READ", "to load access tokens")
    yield Right(connection, "topic", tokens, "WRITE", "to keep access tokens")
    for name in (subscriptions, cursors, tokens):
        yield Right(connection, "topic", name, "CREATE", "to create the topic, which does not exist")


def _beside(connection: KafkaConnection, source: str, app: str) -> Iterator[Right]:
    cursors, tokens, subscriptions = cursors_topic(app), tokens_topic(app), subscriptions_topic(app)
    yield Right(connection, "topic", subscriptions, "WRITE", "only `webhooks subscriptions` needs it, to make changes")
    for name in (cursors, tokens):
        yield Right(connection, "topic", name, "ALTER", f"to give it the partitions that {source} is given")
    for name in (source, subscriptions, cursors, tokens):
        yield Right(connection, "topic", name, "DESCRIBE_CONFIGS", "to check its cleanup.policy")


async def _missing_of_topics(admin: AdminClient, wanted: Sequence[Right]) -> list[Right]:
    try:
        answer = await admin.ask(OperationsRequest(list(dict.fromkeys(right.name for right in wanted))))
    except NotImplementedError:  # aiokafka's word for a broker that speaks no version of a request that it knows
        logger.info("the rights to topics can't be asked for: the broker is older than Kafka 2.3")
        return []
    may_create = OPERATIONS["CREATE"] in operations(answer.cluster_authorized_operations)
    found = {topic[1]: (for_code(topic[0]), operations(topic[-1])) for topic in answer.topics}
    missing = []
    for right in wanted:
        error, allowed = found[right.name]
        if right.operation == "CREATE":
            # Of a topic that this user may not see nobody tells whether it exists: that right is named first.
            is_missing = (
                error is UnknownTopicOrPartitionError and not may_create and OPERATIONS["CREATE"] not in allowed
            )
        else:
            is_missing = error is TopicAuthorizationFailedError or OPERATIONS[right.operation] not in allowed
        if is_missing:
            missing.append(right)
    return missing


async def _missing_of_group(admin: AdminClient, connection: KafkaConnection, app: str) -> list[Right]:
    answer = await admin.ask(HeartbeatRequest(app, NOBODY, ""))
    right = Right(connection, "group", app, "READ", "to join the consumer group and to commit offsets")
    return [right] if _is(answer, GroupAuthorizationFailedError) else []


async def _missing_of_transactions(
    admin: AdminClient, connection: KafkaConnection, app: str, partitions: Iterable[int]
) -> list[Right]:
    prefix = f"{cursors_topic(app)}."
    for number in partitions:
        answer = await admin.ask(EndTxnRequest(f"{prefix}{number}", NOBODY, NOBODY, transaction_result=False))
        if _is(answer, TransactionalIdAuthorizationFailed):
            return [Right(connection, "transactional id", prefix, "WRITE", "to write cursors as their only owner")]
    return []


async def _missing_of_dead_letters(admin: AdminClient, connection: KafkaConnection, topic: str) -> list[Right]:
    missing = await _missing_of_topics(admin, [Right(connection, "topic", topic, "WRITE", "to write dead letters")])
    if missing:
        return missing
    # Since Kafka 3.0 whoever may write to any topic may write there without repeating itself.
    answer = await admin.ask(InitProducerIdRequest(None, TRANSACTION_TIMEOUT_MS))
    right = Right(connection, "cluster", "", "IDEMPOTENT_WRITE", "to write dead letters once")
    return [right] if _is(answer, ClusterAuthorizationFailedError) else []


def _is(answer: Any, error: type[Exception]) -> bool:
    return for_code(answer.error_code) is error
