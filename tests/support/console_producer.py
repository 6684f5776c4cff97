"""A stand-in for Kafka's kafka-console-producer.sh: writes each line of stdin, KEY:VALUE, to a topic.

python console_producer.py --bootstrap-server HOST:PORT --topic TOPIC \\
        --property parse.key=true --property key.separator=:
"""

import argparse
import asyncio
import sys

from aiokafka import AIOKafkaProducer


async def write(bootstrap: str, topic: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for line in sys.stdin:
            key, _, value = line.rstrip("\n").partition(":")
            await producer.send_and_wait(topic, value.encode(), key=key.encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap-server", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--property", action="append", choices=["parse.key=true", "key.separator=:"])
    arguments = parser.parse_args()
    asyncio.run(write(arguments.bootstrap_server, arguments.topic))
