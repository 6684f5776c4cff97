"""Whether a worker could work here: the definition, the brokers and the topics, each fact and each problem a sentence.

`webhooks check` prints them; a worker asks before it starts (worker.py).
"""

from dataclasses import dataclass

from pipeline.config.definition import Definition
from pipeline.core.errors import BrokerError
from pipeline.kafka.topics import count_partitions, cursors_topic, subscriptions_topic, tokens_topic
from pipeline.runtime.topics import check_topics, ensure_topics


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found.

    Attributes:
        facts: what is right.
        problems: what has to be mended first; each begins with the topic it speaks of.
        partitions: of the source topic; 0 where it does not exist.
    """

    facts: tuple[str, ...]
    problems: tuple[str, ...]
    partitions: int

    def raise_problems(self) -> None:
        """Make the problems an error.

        Raises:
            BrokerError: there are some.
        """
        if self.problems:
            raise BrokerError("\n".join(self.problems))


async def examine(definition: Definition, app: str, *, create: bool) -> Findings:
    """Look at the brokers and the topics of an application.

    Args:
        definition: names the source and the dead-letter topic.
        app: the beginning of the names of the pipeline's own topics.
        create: make the pipeline's own topics where they are missing; else only ask whether that would be allowed.

    Raises:
        BrokerError: a cluster can't be reached.
    """
    look = ensure_topics if create else check_topics
    problems = await look(definition, app, [tokens_topic(app)])
    partitions = await _partitions(definition)
    return Findings(tuple(_facts(definition, app, problems, partitions, created=create)), tuple(problems), partitions)


async def _partitions(definition: Definition) -> int:
    try:
        return await count_partitions(definition.source.connection, definition.source.topic)
    except BrokerError:
        return 0  # the cluster answered a moment ago: there is no such topic, which is one of the problems


def _facts(definition: Definition, app: str, problems: list[str], partitions: int, *, created: bool) -> list[str]:
    facts = [
        f"definition {definition.name}: {definition.qos}, from topic {definition.source.topic}",
        f"Kafka at {','.join(definition.source.connection.bootstrap_servers)}: answers",
    ]
    if partitions:
        facts.append(f"topic {definition.source.topic}: exists, {partitions} partitions")
    exists = "exists" if created or definition.source.connection.embedded else "exists or may be created"
    own = (subscriptions_topic(app), cursors_topic(app), tokens_topic(app)) if partitions else ()
    facts += [f"topic {name}: {exists}, with the right partitions and policy" for name in own]
    if definition.dlq is None:
        facts.append("no dead-letter topic: whatever would go there puts its subscription into FAILURE instead")
    else:
        facts.append(f"topic {definition.dlq.topic}: takes dead letters")
    return [fact for fact in facts if _is_sound(_topic_of(fact), problems)]


def _topic_of(sentence: str) -> str | None:
    return sentence.split(":", 1)[0].removeprefix("topic ") if sentence.startswith("topic ") else None


def _is_sound(topic: str | None, problems: list[str]) -> bool:
    return topic is None or not any(_topic_of(problem) == topic for problem in problems)
