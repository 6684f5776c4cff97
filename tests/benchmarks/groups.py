"""The other sender in the comparison: it has one consumer group for each subscription, and each group reads the whole
topic.

    python -m tests.benchmarks.groups BOOTSTRAP TOPIC PREFIX URL NUMBER

All groups run in one process, with the public interfaces of aiokafka and aiohttp. Each group posts one event after
another, which keeps the order, and commits at fixed intervals.
"""

import asyncio
import sys
from typing import Any, Final

import uvloop
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiokafka import AIOKafkaConsumer
from yarl import URL

from tests.benchmarks.bare_loop import CONNECT_SECONDS, HEADERS, READ_SECONDS, SKIPPED

STARTED_TOGETHER: Final = 50
"""The number of consumers that start together. If all started at once, the broker would answer too late for them."""


async def _follow(session: ClientSession, consumer: AIOKafkaConsumer, url: URL) -> None:
    record: Any
    async for record in consumer:
        try:
            async with session.post(url, data=record.value) as answer:
                await answer.read()
        except (ClientError, TimeoutError) as error:
            sys.stderr.write(f"lost {record.offset} of partition {record.partition}: {error!r}\n")


async def run(bootstrap: str, topic: str, prefix: str, callback: str, number: int) -> None:
    """Read and post until the process is terminated."""
    session = ClientSession(
        connector=TCPConnector(limit=0),
        cookie_jar=DummyCookieJar(),
        headers=HEADERS,
        skip_auto_headers=SKIPPED,
        auto_decompress=False,
        timeout=ClientTimeout(total=READ_SECONDS, sock_connect=CONNECT_SECONDS),
    )
    consumers = [
        AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=f"{prefix}-{each}", auto_offset_reset="earliest")
        for each in range(number)
    ]
    async with session:
        for first in range(0, number, STARTED_TOGETHER):
            await asyncio.gather(*(each.start() for each in consumers[first : first + STARTED_TOGETHER]))
        follows = (_follow(session, each, URL(f"{callback}/sub-{place}")) for place, each in enumerate(consumers))
        await asyncio.gather(*follows)


if __name__ == "__main__":
    broker, source, name, target, count = sys.argv[1:]
    uvloop.run(run(broker, source, name, target, int(count)))
