"""Checks definition, brokers, topics and rights before a worker starts. Each fact and each problem is a sentence.

`webhooks check` prints them; a worker runs the check before it starts (worker.py).
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.config.definition import Definition
from pipeline.core.errors import BrokerError
from pipeline.core.subscription import Routing
from pipeline.kafka.admin import Partitions, existing_topics
from pipeline.kafka.topics import DeadLetterTopic, cursors_topic, subscriptions_topic, tokens_topic
from pipeline.runtime.rights import Right, Rights, missing_rights
from pipeline.runtime.side_topics import ensure_side_topics, side_topics
from pipeline.runtime.topics import ensure_topics

_MEANINGS: Final = {
    Routing.KEY: "each event of {topic} goes to the subscription whose id is its key",
    Routing.MATCH: "each event of {topic} goes to every subscription whose topics and filter match it",
}


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of a check.

    Attributes:
        facts: everything that is in order.
        problems: the reasons why a worker can't start; each sentence begins with its topic.
        missing: the missing rights; a worker waits for the required ones.
        warnings: warnings for the operator that do not prevent a start.
        awaited: partitions without a leader that a worker waits for before it starts. Faust reads the tokens of all
            partitions before any event, and would get stuck if one of these partitions had no leader at the start.
        counts: the number of partitions of each source topic that exists.
        is_complete: whether all topics of the pipeline exist.
    """

    facts: tuple[str, ...]
    problems: tuple[str, ...]
    missing: tuple[Right, ...]
    warnings: tuple[str, ...]
    awaited: tuple[str, ...]
    counts: Mapping[str, int]
    is_complete: bool

    def raise_problems(self) -> None:
        """Raise the problems and the missing rights as an error.

        Raises:
            BrokerError: there is a problem, or a required right is missing.
        """
        if self.problems or self.missing:
            raise BrokerError("\n".join((*self.problems, *map(str, self.missing))))


async def examine(definition: Definition, app: str, *, create: bool) -> Findings:
    """Check the brokers, the topics and the rights of an application.

    Args:
        definition: names the sources and the dead-letter topic.
        app: the prefix of the pipeline's own topics.
        create: whether to create missing topics of the pipeline; if False, only ask whether this user may create them.

    Raises:
        BrokerError: a cluster can't be reached.
    """
    source, dlq = definition.source, definition.dlq
    before = await existing_topics(source.connection)
    problems = await ensure_topics(definition, app, [tokens_topic(app)], create=create)
    # If there are problems, a worker does not start, so nothing is created.
    besides = [] if problems else await ensure_side_topics(definition, app, create=create)
    after = await existing_topics(source.connection)
    of_dead_letters = {} if dlq is None else await existing_topics(dlq.connection)
    counts = {topic: after[topic].count for topic in source.topics if topic in after}
    rights = await missing_rights(definition, app, range(max(counts.values(), default=1)))
    # If a right to see or create a topic is missing, only the right is reported, not the consequences.
    unseen = {right.subject for right in rights.needed}
    unnoticed = {right.subject for right in rights.useful if right.operation in {"READ", "WRITE", "CREATE"}}
    facts = [*_of_source(definition, app, before, after, rights), *_of_dead_letters(dlq, of_dead_letters)]
    leaderless = _leaderless((*source.topics, *_own_topics(app)), after)
    if dlq is not None:
        leaderless += _leaderless([dlq.topic], of_dead_letters)
    return Findings(
        facts=tuple(fact for fact in facts if _subject(fact) not in {*unseen, *map(_subject, problems)}),
        problems=tuple(problem for problem in problems if _subject(problem) not in unseen),
        missing=rights.needed,
        warnings=(
            *map(str, rights.useful),
            *(problem for problem in besides if _subject(problem) not in unnoticed),
            *leaderless,
        ),
        awaited=tuple(_leaderless([tokens_topic(app)], after)),
        counts=counts,
        is_complete=all(name in after for name in _own_topics(app)),
    )


def _leaderless(names: Iterable[str], found: Mapping[str, Partitions]) -> list[str]:
    return [trouble for name in names if name in found for trouble in found[name].troubles(name)]


def _of_source(
    definition: Definition, app: str, before: Container[str], after: Mapping[str, Partitions], rights: Rights
) -> list[str]:
    source = definition.source
    topics = ", ".join(source.topics)
    facts = [
        f"definition {definition.name}: {definition.qos}, from topic{'s' if source.others else ''} {topics}",
        f"routing: {definition.routing}: {_MEANINGS[definition.routing].format(topic=topics)}",
        f"Kafka at {','.join(source.connection.bootstrap_servers)}: reachable",
    ]
    found = [topic for topic in source.topics if topic in after]
    facts += [f"topic {topic}: exists, {_partitions(after[topic].count)}" for topic in found]
    if len(found) == len(source.topics):
        unchecked = {right.name for right in rights.useful if right.operation == "DESCRIBE_CONFIGS"}
        if source.connection.embedded:
            unchecked.update(_own_topics(app))
        facts += [
            f"topic {name}: {_state(name, before, after)}{'' if name in unchecked else ', compacted'}"
            for name in _own_topics(app)
        ]
        facts += [
            f"topic {each.name}: {_state(each.name, before, after)}" for each in side_topics(app) if each.name in after
        ]
    return facts


def _of_dead_letters(dlq: DeadLetterTopic | None, found: Mapping[str, Partitions]) -> list[str]:
    if dlq is None:
        return ["no dead-letter topic: a subscription goes into FAILURE when an event would be dead-lettered"]
    can_be_written = dlq.topic in found and bool(found[dlq.topic].led)
    return [f"topic {dlq.topic}: exists{', dead letters can be written' if can_be_written else ''}"]


def _own_topics(app: str) -> tuple[str, ...]:
    return subscriptions_topic(app), cursors_topic(app), tokens_topic(app)


def _state(name: str, before: Container[str], after: Mapping[str, Partitions]) -> str:
    if name not in after:
        return "does not exist; this user has the right to create it"
    return f"{'exists' if name in before else 'created'}, {_partitions(after[name].count)}"


def _partitions(count: int) -> str:
    return "1 partition" if count == 1 else f"{count} partitions"


def _subject(sentence: str) -> str:
    return sentence.split(":", 1)[0]
