"""`webhooks worker` as if the brokers had no topic ids, like brokers before Kafka 2.8."""

import sys
from typing import Any

from pipeline.kafka import topic_ids


async def tell_nothing(client: Any, topic: str) -> topic_ids.TopicNow:  # noqa: ARG001 - the signature of the replaced function
    """The answer from a broker that does not support the request for topic ids."""
    return topic_ids.TopicNow()


def main() -> None:
    """Run a worker with the settings in the environment."""
    topic_ids.describe_topic = tell_nothing
    # Imported after the replacement, because the modules import the function by name.
    from pipeline.cli.main import main as webhooks  # noqa: PLC0415

    sys.argv = ["webhooks", "worker"]
    webhooks()


if __name__ == "__main__":
    main()
