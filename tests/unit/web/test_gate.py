"""The gate of the pages: how many connections, and how long one may owe a request. Real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp import web

from pipeline.web.gate import Gate, GatedRunner

HALF = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
WHOLE = HALF + b"\r\n"
HALF_BODY = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345"


@dataclass
class Served:
    """A server behind a gate."""

    port: int
    slow: asyncio.Event

    async def connect(self, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which *data* was sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        await writer.drain()
        return reader, writer

    async def ask(self) -> bytes:
        """The status line of a whole request's answer."""
        reader, writer = await self.connect(WHOLE)
        try:
            return await reader.readline()
        finally:
            writer.close()


@asynccontextmanager
async def served(*, most: int = 4, request_seconds: float = 3600.0) -> AsyncIterator[Served]:
    """Answers at once, when a body is whole, or when a test says so."""
    slow = asyncio.Event()

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="live")

    async def body(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def late(_: web.Request) -> web.Response:
        await slow.wait()
        return web.Response(text="late")

    app = web.Application()
    app.add_routes([web.get("/health/live", live), web.post("/body", body), web.get("/late", late)])

    class Runner(GatedRunner):
        def gate(self, server: web.Server) -> Gate:
            return Gate(server, most=most, request_seconds=request_seconds)

    runner = Runner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Served(runner.addresses[0][1], slow)
    finally:
        slow.set()
        await runner.cleanup()


async def is_closed(reader: asyncio.StreamReader) -> None:
    """Return when the server has closed the connection."""
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1_000_000)


async def test_half_sent_requests_beyond_the_limit_make_room_for_whole_ones() -> None:
    async with served(most=4) as server:
        halves = [await server.connect(HALF) for _ in range(12)]
        assert await server.ask() == b"HTTP/1.1 200 OK\r\n"
        for reader, _ in halves[:8]:  # the oldest had to go
            await is_closed(reader)
        halves[-1][1].write(b"\r\n")
        assert await halves[-1][0].readline() == b"HTTP/1.1 200 OK\r\n"
        for _, writer in halves:
            writer.close()


@pytest.mark.parametrize("data", [b"", HALF, HALF_BODY, WHOLE], ids=["nothing", "half a head", "half a body", "idle"])
async def test_a_connection_that_owes_a_request_is_closed_in_time(data: bytes) -> None:
    async with served(request_seconds=0.2) as server:
        reader, writer = await server.connect(data)
        await is_closed(reader)
        writer.close()


async def test_a_dripping_head_gains_no_time() -> None:
    async with served(request_seconds=0.4) as server:
        reader, writer = await server.connect(HALF)

        async def drip() -> None:
            while True:
                writer.write(b"x")  # of one line, which aiohttp takes to be long
                await asyncio.sleep(0.02)  # what it does is to take its time

        dripping = asyncio.create_task(drip())
        await is_closed(reader)
        dripping.cancel()
        writer.close()


LATE = b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_who_is_being_answered_is_left_alone() -> None:
    async with served(most=3, request_seconds=0.1) as server:
        waiting = [await server.connect(LATE) for _ in range(2)]
        reader, half = await server.connect(HALF)
        await is_closed(reader)  # so much time has passed
        half.close()
        server.slow.set()
        for reader, writer in waiting:
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            writer.close()


async def test_nobody_has_to_go_who_is_being_answered() -> None:
    async with served(most=2) as server:
        waiting = [await server.connect(LATE) for _ in range(2)]
        reader, writer = await server.connect(WHOLE)
        await is_closed(reader)
        writer.close()
        server.slow.set()
        for reader, writer in waiting:
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            writer.close()


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with served() as server:
        reader, writer = await server.connect(WHOLE)
        for _ in range(3):
            assert await reader.readuntil(b"live")
            writer.write(WHOLE)
        assert await reader.readuntil(b"live")
        writer.close()


async def test_what_was_closed_is_logged_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    async with served(most=2) as server:
        halves = [await server.connect(HALF) for _ in range(10)]
        for reader, _ in halves[:8]:
            await is_closed(reader)
        for _, writer in halves:
            writer.close()
    lines = [record.getMessage() for record in caplog.records if record.name == "pipeline.web.gate"]
    assert lines == ["web: closed 1 connections without a whole request in 3600 s, or beyond 2 at a time"]
