"""The gate of the pages: limits of connections and of the time for a request, with real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import web

from pipeline.web.gate import Gate, GatedConnection, GatedRunner
from tests.support.waiting import eventually

HALF = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
WHOLE = HALF + b"\r\n"
LARGE_BYTES = 16 * 1024 * 1024
"""More bytes than the socket buffers of the two sides hold."""
HALF_BODY = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"


@dataclass
class Served:
    """A server behind a gate."""

    port: int
    slow: asyncio.Event
    gate: Gate

    async def connect(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection and send *data*."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        await writer.drain()
        return reader, writer

    async def ask(self) -> bytes:
        """Send a complete request, and return the status line of the answer."""
        reader, writer = await self.connect(WHOLE)
        try:
            return await reader.readline()
        finally:
            writer.close()


@asynccontextmanager
async def served(*, most: int = 4, request_seconds: float = 3600.0) -> AsyncIterator[Served]:
    """Run a server that answers at once, after a complete body, or when a test allows it."""
    slow = asyncio.Event()

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="live")

    async def body(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def late(_: web.Request) -> web.Response:
        await slow.wait()
        return web.Response(text="late")

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=bytes(LARGE_BYTES))

    app = web.Application()
    app.add_routes([web.get("/health/live", live), web.post("/body", body), web.get("/late", late)])
    app.add_routes([web.get("/large", large)])
    gates: list[Gate] = []

    class Runner(GatedRunner):
        def gate(self, server: web.Server) -> Gate:
            gates.append(Gate(server, most=most, request_seconds=request_seconds))
            return gates[-1]

    runner = Runner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Served(runner.addresses[0][1], slow, gates[0])
    finally:
        slow.set()
        await runner.cleanup()


async def is_closed(reader: asyncio.StreamReader) -> None:
    """Return when the server has closed the connection."""
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1_000_000)


async def test_incomplete_requests_are_dropped_for_complete_ones() -> None:
    async with served(most=4) as server:
        halves = [await server.connect(HALF) for _ in range(12)]
        assert await server.ask() == b"HTTP/1.1 200 OK\r\n"
        for reader, _ in halves[:8]:  # the oldest connections were replaced
            await is_closed(reader)
        halves[-1][1].write(b"\r\n")
        assert await halves[-1][0].readline() == b"HTTP/1.1 200 OK\r\n"
        for _, writer in halves:
            writer.close()


@pytest.mark.parametrize("data", [b"", HALF, HALF_BODY, WHOLE], ids=["nothing", "half a head", "half a body", "idle"])
async def test_a_connection_without_a_request_is_closed_in_time(data: bytes) -> None:
    async with served(request_seconds=0.2) as server:
        reader, writer = await server.connect(data)
        await is_closed(reader)
        writer.close()


async def test_a_slow_head_gets_no_additional_time() -> None:
    async with served(request_seconds=0.4) as server:
        reader, writer = await server.connect(HALF)

        async def drip() -> None:
            while True:
                writer.write(b"x")  # one line, which aiohttp limits
                await asyncio.sleep(0.02)  # the client is slow

        dripping = asyncio.create_task(drip())
        await is_closed(reader)
        dripping.cancel()
        writer.close()


async def test_the_time_limit_of_a_body_begins_after_the_head() -> None:
    async with served() as server:
        reader, writer = await server.connect(WHOLE)
        await reader.readline()  # the connection is idle again
        [connection] = server.gate.connections
        idle_since = connection.waiting_since()
        writer.write(HALF_BODY)

        async def has_begun_again() -> bool:
            since = connection.waiting_since()
            return since is not None and idle_since is not None and since > idle_since and connection.has_begun

        await eventually(
            has_begun_again,
            within_seconds=10,
            says=lambda: "the connection is not closed in time after the last answer",
        )
        writer.close()


LATE = b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_a_connection_being_answered_is_not_closed() -> None:
    async with served(most=3, request_seconds=0.1) as server:
        waiting = [await server.connect(LATE) for _ in range(2)]
        reader, half = await server.connect(HALF)
        await is_closed(reader)  # the time for a request has passed
        half.close()
        server.slow.set()
        for reader, writer in waiting:
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            writer.close()


async def test_a_connection_that_is_being_answered_is_not_replaced() -> None:
    async with served(most=2) as server:
        waiting = [await server.connect(LATE) for _ in range(2)]
        reader, writer = await server.connect(WHOLE)
        await is_closed(reader)
        writer.close()
        server.slow.set()
        for reader, writer in waiting:
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            writer.close()


LARGE = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"


def unread(server: Served) -> list[GatedConnection]:
    """The connections whose answers are not read."""
    return [each for each in server.gate.connections if each.is_unread]


async def test_a_connection_with_an_unread_answer_is_replaced() -> None:
    """Otherwise 128 such connections would lock out probes, scrapers and operators while they are open."""
    async with served(most=2) as server, asyncio.timeout(10):
        writers = [(await server.connect(LARGE))[1] for _ in range(2)]
        while len(unread(server)) < 2:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        assert await server.ask() == b"HTTP/1.1 200 OK\r\n"
        for writer in writers:
            writer.close()


async def test_a_connection_with_an_unread_answer_is_closed_in_time() -> None:
    async with served(request_seconds=0.2) as server, asyncio.timeout(10):
        _, writer = await server.connect(LARGE + WHOLE + WHOLE)
        while not unread(server):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        while server.gate.connections:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        writer.close()


async def test_a_connection_that_reads_slowly_is_not_closed() -> None:
    async with served(request_seconds=3600.0) as server, asyncio.timeout(10):
        reader, writer = await server.connect(LARGE)
        while not unread(server):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(LARGE_BYTES) == bytes(LARGE_BYTES)
        assert not unread(server)
        writer.write(WHOLE)
        assert await reader.readuntil(b"live")
        writer.close()


async def test_a_connection_with_pipelined_requests_is_replaced() -> None:
    """Browsers and scrapers wait for an answer. A connection that always has a further request would never end."""
    async with served(most=2) as server, asyncio.timeout(10):
        greedy = [await server.connect(LATE + WHOLE) for _ in range(2)]
        while not all(each.has_more_requests for each in server.gate.connections):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        assert await server.ask() == b"HTTP/1.1 200 OK\r\n"
        await is_closed(greedy[0][0])  # the oldest connection
        server.slow.set()
        assert await greedy[1][0].readuntil(b"live")
        for _, writer in greedy:
            writer.close()


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with served() as server:
        reader, writer = await server.connect(WHOLE)
        for _ in range(3):
            assert await reader.readuntil(b"live")
            writer.write(WHOLE)
        assert await reader.readuntil(b"live")
        writer.close()


async def test_closed_connections_are_logged_at_intervals(caplog: pytest.LogCaptureFixture) -> None:
    async with served(most=2) as server:
        halves = [await server.connect(HALF) for _ in range(10)]
        for reader, _ in halves[:8]:
            await is_closed(reader)
        for _, writer in halves:
            writer.close()
    [line] = [record.getMessage() for record in caplog.records if record.name == "pipeline.web.gate"]
    assert line == (
        "web: closed 1 connections: a client sent no complete request or left an answer unread for 3600 s, "
        "or there were more than 2 connections"
    )
