"""Whether a worker could work here: the definition, the brokers and the topics, each fact and each problem a sentence.

`webhooks check` prints them; a worker asks before it starts (worker.py).
"""

from collections.abc import Container
from dataclasses import dataclass

from pipeline.config.definition import Definition
from pipeline.core.errors import BrokerError
from pipeline.kafka.admin import administration, partition_counts
from pipeline.kafka.topics import cursors_topic, subscriptions_topic, tokens_topic
from pipeline.runtime.rights import Right, Rights, missing_rights
from pipeline.runtime.topics import check_topics, ensure_topics


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found.

    Attributes:
        facts: what is right.
        problems: what has to be mended before a worker can start; each begins with the topic it speaks of.
        missing: rights without which a worker waits.
        warnings: what a person should know although a worker works.
        partitions: of the source topic; 0 where it does not exist.
        is_complete: whether every topic of the pipeline is there.
    """

    facts: tuple[str, ...]
    problems: tuple[str, ...]
    missing: tuple[Right, ...]
    warnings: tuple[str, ...]
    partitions: int
    is_complete: bool

    def raise_problems(self) -> None:
        """Make the problems and the missing rights an error.

        Raises:
            BrokerError: there are some.
        """
        if self.problems or self.missing:
            raise BrokerError("\n".join((*self.problems, *map(str, self.missing))))


async def examine(definition: Definition, app: str, *, create: bool) -> Findings:
    """Look at the brokers, the topics and the rights of an application.

    Args:
        definition: names the source and the dead-letter topic.
        app: the beginning of the names of the pipeline's own topics.
        create: make the pipeline's own topics where they are missing; else only ask whether that would be allowed.

    Raises:
        BrokerError: a cluster can't be reached.
    """
    before = await _counts(definition)
    look = ensure_topics if create else check_topics
    problems = await look(definition, app, [tokens_topic(app)])
    after = await _counts(definition)
    partitions = after.get(definition.source.topic, 0)
    rights = await missing_rights(definition, app, range(max(1, partitions)))
    # Of a topic that this user may not see, or not make, the missing right says more than what follows from it.
    unseen = {right.subject for right in rights.needed}
    facts = [*_of_source(definition, app, before, after, rights), *_of_dead_letters(definition)]
    return Findings(
        facts=tuple(fact for fact in facts if _subject(fact) not in {*unseen, *map(_subject, problems)}),
        problems=tuple(problem for problem in problems if _subject(problem) not in unseen),
        missing=rights.needed,
        warnings=tuple(map(str, rights.useful)),
        partitions=partitions,
        is_complete=all(name in after for name in _own_topics(app)),
    )


async def _counts(definition: Definition) -> dict[str, int]:
    async with administration(definition.source.connection) as admin:
        return await partition_counts(admin)


def _of_source(
    definition: Definition, app: str, before: Container[str], after: dict[str, int], rights: Rights
) -> list[str]:
    source = definition.source
    facts = [
        f"definition {definition.name}: {definition.qos}, from topic {source.topic}",
        f"Kafka at {','.join(source.connection.bootstrap_servers)}: reachable",
    ]
    if source.topic in after:
        facts.append(f"topic {source.topic}: exists, {_partitions(after[source.topic])}")
        unread = {right.name for right in rights.useful if right.operation == "DESCRIBE_CONFIGS"}
        facts += [
            f"topic {name}: {_state(name, before, after)}{'' if name in unread else ', compacted'}"
            for name in _own_topics(app)
        ]
    return facts


def _of_dead_letters(definition: Definition) -> list[str]:
    if definition.dlq is None:
        return ["no dead-letter topic: an event that would go there puts its subscription into FAILURE instead"]
    return [f"topic {definition.dlq.topic}: exists, dead letters can be written"]


def _own_topics(app: str) -> tuple[str, ...]:
    return subscriptions_topic(app), cursors_topic(app), tokens_topic(app)


def _state(name: str, before: Container[str], after: dict[str, int]) -> str:
    if name not in after:
        return "does not exist and may be created"
    return f"{'exists' if name in before else 'created'}, {_partitions(after[name])}"


def _partitions(count: int) -> str:
    return "1 partition" if count == 1 else f"{count} partitions"


def _subject(sentence: str) -> str:
    return sentence.split(":", 1)[0]
