"""Create missing topics, with the brokers' default number of replicas. compose.yaml runs this before the workers.

    python create_topics.py BOOTSTRAP NAME:PARTITIONS...

The exit code is 1 if a topic can't be created, or exists with another number of partitions: the key of a record decides
its partition, so the number must be right.
"""

import argparse
import asyncio
import sys

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

BROKER_DEFAULT = -1
"""The number of replicas in the brokers' default.replication.factor (KIP-464)."""


def topic(argument: str) -> NewTopic:
    """Read NAME:PARTITIONS."""
    name, _, partitions = argument.rpartition(":")
    if not name or not partitions.isdecimal() or int(partitions) < 1:
        raise argparse.ArgumentTypeError(f"{argument!r} is not NAME:PARTITIONS with at least one partition")
    return NewTopic(name, int(partitions), BROKER_DEFAULT, {})


def counted(partitions: int) -> str:
    """A number of partitions in words."""
    return f"{partitions} partition{'' if partitions == 1 else 's'}"


async def create(bootstrap: str, topics: list[NewTopic]) -> list[str]:
    """Create missing topics, print which were created and which existed, and return a sentence for each problem."""
    problems: list[str] = []
    created: set[str] = set()
    asked = {new.name: new.num_partitions for new in topics}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        for name, code, *reason in (await admin.create_topics(topics)).topic_errors:
            if code == 0:
                created.add(name)
                print(f"{name}: created, {counted(asked[name])}")
            elif code != TopicAlreadyExistsError.errno:
                problems.append(f"{name}: {for_code(code).__name__} {reason}")
        for found in await admin.describe_topics(list(asked)):
            name, partitions = found["topic"], len(found["partitions"])
            # 0 if the topic has just been created.
            if partitions not in {0, asked[name]}:
                problems.append(f"{name}: has {counted(partitions)}, not {asked[name]}")
            elif partitions and name not in created:
                print(f"{name}: exists, {counted(asked[name])}")
    finally:
        await admin.close()
    return problems


def main() -> None:
    """Create the topics, and print them; print problems on stderr."""
    parser = argparse.ArgumentParser(
        description="Create topics that do not exist yet, each with the default number of replicas."
    )
    parser.add_argument("bootstrap", metavar="BOOTSTRAP")
    parser.add_argument("topics", metavar="NAME:PARTITIONS", nargs="+", type=topic)
    arguments = parser.parse_args()
    try:
        problems = asyncio.run(create(arguments.bootstrap, arguments.topics))
    except KafkaError as error:
        sys.exit(f"{arguments.bootstrap}: {error}")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
