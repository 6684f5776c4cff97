"""`webhooks worker` on brokers that tell no ids of topics, as those before Kafka 2.8."""

import sys
from typing import Any

from pipeline.kafka import topic_ids


async def tell_nothing(client: Any, topic: str) -> topic_ids.TopicNow:  # noqa: ARG001 - as the one it replaces
    """What is known of a topic if the broker does not know the request."""
    return topic_ids.TopicNow()


def main() -> None:
    """Run a worker on the settings of the environment."""
    topic_ids.describe_topic = tell_nothing
    # Only now, for they take the function's name along.
    from pipeline.cli.main import main as webhooks  # noqa: PLC0415

    sys.argv = ["webhooks", "worker"]
    webhooks()


if __name__ == "__main__":
    main()
