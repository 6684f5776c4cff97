"""The cost of one call of a `Callback`, compared with aiohttp's `session.post` in the same run.

    python -m tests.benchmarks.bench_transport [CALLS]

Prints the CPU time of the sending process per delivery of 200 bytes over kept-alive loopback connections, on uvloop.
The ratio is the same on each machine, the microseconds are not. The receiver runs in a separate process, whose CPU
time is not counted.
"""

import asyncio
import multiprocessing
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from multiprocessing.connection import Connection
from typing import Final, cast

import uvloop
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered
from pipeline.core.subscription import Subscription
from pipeline.http.proxy import SystemProxies
from pipeline.http.ssrf_guard import Guard
from pipeline.http.transport import Transport
from pipeline.http.webhook import Callback

LANES: Final = 50
ROUNDS: Final = 7
DEFAULT_CALLS: Final = 10_000
BODY: Final = b"x" * 200
ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
SECRET: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
RECORD_HEADERS: Final = (("traceparent", b"00-ab-cd-01"), ("ce_id", b"7"), ("ce_type", b"order.made"))

Call = Callable[[int], Awaitable[None]]


class Answerer(asyncio.Protocol):
    """A minimal receiver: it takes each packet as one request, and always gives the same answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are of another class

    def data_received(self, data: bytes) -> None:
        del data
        self._transport.write(ANSWER)


def receive(port: Connection) -> None:
    """Run a receiver until the process is terminated, and send its port through the pipe *port*."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Answerer, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())


def calling(callback: Callback, subscription: Subscription, headers: tuple[tuple[str, bytes], ...] = ()) -> Call:
    """A call that sends one event with `Callback`."""

    async def call(offset: int) -> None:
        outcome = await callback(subscription, PlainEvent("events", 0, offset, b"s", BODY, headers), 1)
        assert isinstance(outcome, Delivered), outcome

    return call


def posting(session: ClientSession, url: str) -> Call:
    """A call that sends one event with `session.post`, with the header fields that `Callback` sends."""

    async def call(offset: int) -> None:
        headers = {
            "webhook-id": f"events-0-{offset}",
            "webhook-attempt": "1",
            "webhook-subscription": "s",
            "content-type": "application/json",
        }
        async with session.post(url, data=BODY, headers=headers) as answer:
            await answer.read()
            assert answer.status == 200

    return call


async def cpu_microseconds(call: Call, calls: int) -> float:
    """The CPU time of one call in microseconds, with `LANES` calls in flight."""

    async def lane() -> None:
        for offset in range(calls // LANES):
            await call(offset)

    began = time.process_time()
    await asyncio.gather(*(lane() for _ in range(LANES)))
    return (time.process_time() - began) / (calls // LANES * LANES) * 1e6


async def measure(port: int, calls: int) -> dict[str, list[float]]:
    """Measure each way to send in turn, several times, so that other load on the machine affects all of them."""
    url = f"http://127.0.0.1:{port}/hook"
    transport = Transport(
        guard=Guard([ip_network("127.0.0.0/8")]),
        max_in_flight=LANES,
        idle_timeout_seconds=60,
        system_proxies=SystemProxies(),
    )
    await transport.start()
    callback = Callback(transport, SystemClock(), user_agent="bench/1", on_header_left_out=print)
    session = ClientSession(
        connector=TCPConnector(limit=LANES),
        cookie_jar=DummyCookieJar(),
        skip_auto_headers=("accept", "accept-encoding"),
        auto_decompress=False,
        timeout=ClientTimeout(total=10, sock_connect=3),
    )
    async with session:
        ways: dict[str, Call] = {
            "callback": calling(callback, Subscription("s", 1, url)),
            "callback, 3 record headers": calling(callback, Subscription("h", 1, url), RECORD_HEADERS),
            "callback, signed": calling(callback, Subscription("g", 1, url, signing_secrets=(SECRET,))),
            "session.post": posting(session, url),
        }
        for call in ways.values():
            await cpu_microseconds(call, LANES)
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, call in ways.items():
                taken[name].append(await cpu_microseconds(call, calls))
    await transport.close()
    return taken


def main() -> None:
    """Start the receiver, measure all ways to send, and print the table."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_CALLS
    ours, theirs = multiprocessing.Pipe()
    receiver = multiprocessing.Process(target=receive, args=(theirs,), daemon=True)
    receiver.start()
    try:
        taken = uvloop.run(measure(ours.recv(), calls))
    finally:
        receiver.terminate()
    base = statistics.median(taken["session.post"])
    for name, microseconds in taken.items():
        median, best = statistics.median(microseconds), min(microseconds)
        print(f"{name:28} {median:6.1f} us (best {best:5.1f})   {median / base:5.2f} of session.post")


if __name__ == "__main__":
    main()
