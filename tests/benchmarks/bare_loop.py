"""The bare loop, with which the pipeline is compared: aiokafka and aiohttp, bounded concurrency, no guarantees.

    python -m tests.benchmarks.bare_loop BOOTSTRAP TOPIC GROUP URL IN_FLIGHT

This is the fastest loop that the public interfaces of both libraries allow: uvloop, no cookies, no decompression,
headers and URLs made once. The loop continues after every answer. Offsets are committed at fixed intervals.
"""

import asyncio
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import uvloop
from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from aiokafka import AIOKafkaConsumer
from yarl import URL

HEADERS: Final = {"content-type": "application/json", "user-agent": "bare-loop"}
SKIPPED: Final = ("accept", "accept-encoding")
READ_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 3.0
POLL_MS: Final = 1000


async def post_all(session: ClientSession, callback: str, records: Iterator[Any]) -> None:
    """Post one record after another. Concurrent calls take their records from the same *records*."""
    for record in records:
        try:
            async with session.post(_url(callback, record.key), data=record.value) as answer:
                await answer.read()
        except (ClientError, TimeoutError) as error:
            sys.stderr.write(f"lost {record.offset} of partition {record.partition}: {error!r}\n")


@lru_cache(maxsize=10_000)
def _url(callback: str, key: bytes) -> URL:
    return URL(f"{callback}/{key.decode()}")


async def run(bootstrap: str, topic: str, group: str, callback: str, in_flight: int) -> None:
    """Read and post until the process is terminated."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest")
    session = ClientSession(
        connector=TCPConnector(limit=in_flight),
        cookie_jar=DummyCookieJar(),
        headers=HEADERS,
        skip_auto_headers=SKIPPED,
        auto_decompress=False,
        timeout=ClientTimeout(total=READ_SECONDS, sock_connect=CONNECT_SECONDS),
    )
    async with consumer, session:
        while True:
            fetched = await consumer.getmany(timeout_ms=POLL_MS)
            records = (record for batch in fetched.values() for record in batch)
            await asyncio.gather(*(post_all(session, callback, records) for _ in range(in_flight)))


if __name__ == "__main__":
    broker, source, name, url, number = sys.argv[1:]
    uvloop.run(run(broker, source, name, url, int(number)))
