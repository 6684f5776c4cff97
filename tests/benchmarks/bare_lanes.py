"""The floor, which the pipeline is compared with: lanes that write HTTP/1.1 themselves, without guarantees.

    python -m tests.benchmarks.bare_lanes BOOTSTRAP TOPIC GROUP URL

This is the least that a sender in Python can do if it keeps the order of each subscription: aiokafka, uvloop, and one
connection and one request in flight for each subscription. It has no timeouts, no retries, no TLS, and no limits, and
reads only answers with a content length. Offsets are committed at fixed intervals, whether or not the events were
delivered.
"""

import asyncio
import re
import sys
from collections import deque
from typing import Final, cast

import uvloop
from aiokafka import AIOKafkaConsumer
from yarl import URL

CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
END_OF_HEAD: Final = b"\r\n\r\n"
POLL_MS: Final = 1000
MOST_WAITING: Final = 10_000
"""The number of events in memory above which nothing is fetched."""


class Lane(asyncio.Protocol):
    """The connection and the events of one subscription.

    Args:
        url: the callback URL.
        waiting: the count of the events in memory, shared by all lanes.
    """

    def __init__(self, url: URL, waiting: "Waiting") -> None:
        self._head = (
            f"POST {url.raw_path} HTTP/1.1\r\nhost: {url.authority}\r\n"
            "content-type: application/json\r\nuser-agent: bare-lanes\r\ncontent-length: "
        ).encode()
        self._waiting = waiting
        self._events: deque[bytes] = deque()
        self._transport: asyncio.Transport | None = None
        self._is_busy = True
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to send."""
        self._transport = cast("asyncio.Transport", transport)
        self._send_next()

    def add(self, event: bytes) -> None:
        """Send *event* after those that were added before it."""
        self._events.append(event)
        self._waiting.add()
        if not self._is_busy:
            self._send_next()

    def data_received(self, data: bytes) -> None:
        """Send the next event when the answer is complete."""
        self._read += data
        head, end, body = self._read.partition(END_OF_HEAD)
        if not end:
            return
        length = CONTENT_LENGTH.search(head)
        if length is None:
            raise ValueError(f"the answer has no content-length: {head!r}")
        if len(body) >= int(length[1]):
            self._read = b""
            self._waiting.remove()
            self._send_next()

    def _send_next(self) -> None:
        self._is_busy = bool(self._events)
        if self._is_busy and self._transport is not None:
            event = self._events.popleft()
            self._transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(event), event))

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the events of this subscription as lost."""
        if self._is_busy:
            sys.stderr.write(f"lost {len(self._events) + 1} events: {exc!r}\n")


class Waiting:
    """Counts the events in memory."""

    def __init__(self) -> None:
        self._count = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    def add(self) -> None:
        """Count one more event."""
        self._count += 1
        if self._count >= MOST_WAITING:
            self._has_room.clear()

    def remove(self) -> None:
        """Count one event less."""
        self._count -= 1
        if self._count < MOST_WAITING // 2:
            self._has_room.set()

    async def room(self) -> None:
        """Wait until there is room for more events."""
        await self._has_room.wait()


async def connected(url: URL, waiting: Waiting) -> Lane:
    """Return a lane that is connected to the host of *url*."""
    loop = asyncio.get_running_loop()
    _, lane = await loop.create_connection(lambda: Lane(url, waiting), url.raw_host or "", url.port or 0)
    return lane


async def run(bootstrap: str, topic: str, group: str, callback: str) -> None:
    """Read and post until the process is terminated."""
    lanes: dict[bytes, Lane] = {}
    waiting = Waiting()
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest")
    async with consumer:
        while True:
            fetched = await consumer.getmany(timeout_ms=POLL_MS)
            for batch in fetched.values():
                for record in batch:
                    lane = lanes.get(record.key)
                    if lane is None:
                        lane = lanes[record.key] = await connected(URL(f"{callback}/{record.key.decode()}"), waiting)
                    lane.add(record.value)
            await waiting.room()


if __name__ == "__main__":
    broker, source, name, receiver_url = sys.argv[1:]
    uvloop.run(run(broker, source, name, receiver_url))
