"""The process of the receiver. It does as little per request as possible in Python, so as not to limit the rate.

    python -m tests.benchmarks.receiver_process TRAFFIC CONTROL     two listening sockets, inherited as descriptors

Webhooks are sent to TRAFFIC. The benchmark (receiver.py) sends these requests to CONTROL:

    PUT /behaviour   {"numbers": [0, 1], "status": 503, "after_seconds": 0.05}: how to answer these subscriptions;
                     with status 0, they get no answer
    PUT /watch       {"pid": 1, "lowest": 10, "target": 5000}: counts the taken arrivals of subscriptions from *lowest*
                     on, and reads the CPU time of the process *pid* at the first one and at number *target*
    GET /watch       waits for arrival number *target*, and answers with both times
    GET /begun       waits for the first watched arrival
    GET /arrivals    answers with all requests so far, in the layout of arrivals.py
    GET /taken       answers with the number of watched arrivals that were taken
"""

import asyncio
import re
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Final, cast

import uvloop
from aiohttp import web

from tests.benchmarks.arrivals import LAYOUT, NO_ANSWER
from tests.benchmarks.procfs import cpu_seconds

CONTENT_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
END_OF_HEAD: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How requests of a subscription are answered."""

    status: int = 200
    after_seconds: float = 0.0

    def answer(self) -> bytes:
        """The bytes of the answer."""
        return b"HTTP/1.1 %d -\r\ncontent-length: 0\r\n\r\n" % self.status


@dataclass(slots=True)
class Moment:
    """A time, and the CPU seconds that the watched process had used by then."""

    at: float
    cpu_seconds: float


@dataclass(slots=True)
class Watch:
    """The parameters of PUT /watch, and the arrivals that were counted since."""

    pid: int
    lowest: int
    target: int
    taken: int = 0
    first: Moment | None = None
    last: Moment | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, now: float) -> None:
        """Count one more arrival that was taken."""
        self.taken += 1
        if self.taken == 1:
            self.first = Moment(now, cpu_seconds(self.pid))
            self.begun.set()
        if self.taken == self.target:
            self.last = Moment(now, cpu_seconds(self.pid))
            self.reached.set()


class Ledger:
    """All requests so far, and how each subscription is answered."""

    def __init__(self) -> None:
        self.arrivals = bytearray()
        self.watch: Watch | None = None
        self._default = (200, 0.0, Behaviour().answer())
        self._behaviours: dict[int, tuple[int, float, bytes]] = {}

    def behave(self, numbers: list[int], behaviour: Behaviour) -> None:
        """From now on, answer these subscriptions with *behaviour*."""
        for number in numbers:
            self._behaviours[number] = (behaviour.status, behaviour.after_seconds, behaviour.answer())

    def take(self, body: bytes) -> tuple[int, float, bytes]:
        """Record a request with this body. Returns the status, the delay in seconds and the bytes of its answer."""
        number_text, sequence, produced_at, _ = body.split(b" ", 3)
        number, now = int(number_text), time.time()
        behaviour = self._behaviours.get(number, self._default)
        status = behaviour[0]
        self.arrivals += LAYOUT.pack(number, int(sequence), status, float(produced_at), now)
        watch = self.watch
        if watch is not None and 200 <= status < 300 and number >= watch.lowest:
            watch.count(now)
        return behaviour


class Connection(asyncio.Protocol):
    """A connection with one request after another, each with a content-length."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio's Transport, but are no subclass of it.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        while (head := received.find(END_OF_HEAD)) >= 0:
            length = CONTENT_LENGTH.search(received, 0, head + 2)
            begin = head + len(END_OF_HEAD)
            end = begin + (int(length[1]) if length else 0)
            if len(received) < end:
                break
            self._answer(received[begin:end])
            received = received[end:]
        self._received = received

    def _answer(self, body: bytes) -> None:
        status, after_seconds, answer = self._ledger.take(body)
        if after_seconds:
            self._loop.call_later(after_seconds, self._transport.write, answer)
        elif status != NO_ANSWER:
            self._transport.write(answer)


def control(ledger: Ledger) -> web.Application:
    """The control server, which the benchmark sends its requests to."""

    async def behave(request: web.Request) -> web.Response:
        wish: dict[str, Any] = await request.json()
        ledger.behave(wish.pop("numbers"), Behaviour(**wish))
        return web.Response()

    async def begin_watch(request: web.Request) -> web.Response:
        ledger.watch = Watch(**await request.json())
        return web.Response()

    async def end_watch(_: web.Request) -> web.Response:
        watch = ledger.watch
        assert watch is not None
        await watch.reached.wait()
        assert watch.first is not None
        assert watch.last is not None
        return web.json_response({"first": asdict(watch.first), "last": asdict(watch.last)})

    async def taken(_: web.Request) -> web.Response:
        return web.json_response(0 if ledger.watch is None else ledger.watch.taken)

    async def begun(_: web.Request) -> web.Response:
        assert ledger.watch is not None
        await ledger.watch.begun.wait()
        return web.Response()

    async def arrivals(_: web.Request) -> web.Response:
        return web.Response(body=bytes(ledger.arrivals))

    app = web.Application()
    app.add_routes(
        [
            web.put("/behaviour", behave),
            web.put("/watch", begin_watch),
            web.get("/watch", end_watch),
            web.get("/taken", taken),
            web.get("/begun", begun),
            web.get("/arrivals", arrivals),
        ]
    )
    return app


async def serve(traffic: socket.socket, commands: socket.socket) -> None:
    """Serve until the process is terminated."""
    ledger = Ledger()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(ledger), sock=traffic)
    runner = web.AppRunner(control(ledger))
    await runner.setup()
    await web.SockSite(runner, commands).start()
    await server.serve_forever()


if __name__ == "__main__":
    traffic_socket, control_socket = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    uvloop.run(serve(traffic_socket, control_socket))
