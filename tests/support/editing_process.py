"""A process that pauses or resumes a subscription for each line that it reads, and prints the new status.

The argument of the process is a JSON object: bootstrap, embedded, topic, key.
"""

import asyncio
import json
import sys

from pipeline.config.definition import Definition
from pipeline.core.subscription import Routing
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.topics import Source
from pipeline.subscriptions.edits import Edit
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.store import SubscriptionStore


async def main() -> None:
    """Edit until standard input ends."""
    told = json.loads(sys.argv[1])
    connection = KafkaConnection((told["bootstrap"],), embedded=told["embedded"])
    definition = Definition("orders", Source(connection, "events"), stated_routing=Routing.KEY)
    box = SecretBox([told["key"]])
    registry = Registry(connection, told["topic"], box, definition)
    store = SubscriptionStore(registry, connection, told["topic"], box, definition)
    await registry.start()
    await store.open()
    try:
        await registry.ready()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while status := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await store.edit("s", Edit({"status": status}))
            sys.stdout.write(f"{status}\n")
            sys.stdout.flush()
    finally:
        await store.close()
        await registry.stop()


if __name__ == "__main__":
    asyncio.run(main())
