"""Server-sent events: listeners that are served, refused or disconnected (web/pages/stream.py)."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pipeline.web.pages.stream import OF_A_TENANT, Changed, Stream
from pipeline.web.principal import Principal
from tests.support.fixed_view import FixedView


async def until(stream: Stream, listeners: int) -> None:
    async with asyncio.timeout(20):
        while stream.listeners != listeners:  # noqa: ASYNC110 - there is no event for a socket
            await asyncio.sleep(0.01)


OPERATOR = Principal("operator")

Client = TestClient[web.Request, web.Application]


@asynccontextmanager
async def serving(stream: Stream, principal: Principal = OPERATOR) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_get("/", partial(stream.serve, principal=principal))
    app.on_shutdown.append(stream.close)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_a_listener_gets_a_message_for_each_change(view: FixedView) -> None:
    async with serving(Stream(view.changed, least_seconds=0)) as client, client.get("/") as response:
        assert response.content_type == "text/event-stream"
        assert await response.content.readuntil(b"\n\n") == b": listening\n\n"
        for number in (1, 2, 3):
            assert await response.content.readuntil(b"\n\n") == b"event: changed\ndata: %d\n\n" % number
            view.change()


async def test_a_tenant_s_messages_do_not_reveal_changes_of_others(view: FixedView) -> None:
    view.version = 1234
    tenant = Principal("somebody", tenant={"customer": "acme"})
    stream = Stream(view.changed, least_seconds=0, tenant_seconds=0)
    async with serving(stream, tenant) as client, client.get("/") as response:
        assert await response.content.readuntil(b"\n\n") == b": listening\n\n"
        for number in (1, 2, 3):  # nothing has changed
            assert await response.content.readuntil(b"\n\n") == b"event: changed\ndata: %d\n\n" % number


async def test_a_listener_is_answered_before_any_change(view: FixedView) -> None:
    view.version = 0
    async with serving(Stream(view.changed)) as client, client.get("/") as response:
        assert await response.content.readuntil(b"\n\n") == b": listening\n\n"


async def test_the_number_of_listeners_is_limited(view: FixedView) -> None:
    stream = Stream(view.changed, most=2)
    async with serving(stream) as client:
        first, second = await client.get("/"), await client.get("/")
        async with client.get("/") as response:
            assert (response.status, response.headers["Retry-After"]) == (503, "60")
        first.close()
        view.change()
        await until(stream, 1)
        async with client.get("/") as response:
            assert response.status == 200
        second.close()


async def test_a_tenant_has_a_limited_number_of_listeners(view: FixedView) -> None:
    stream = Stream(view.changed)
    async with serving(stream, Principal("somebody", tenant={"customer": "acme"})) as client:
        open_ones = [await client.get("/") for _ in range(OF_A_TENANT)]
        async with client.get("/") as response:
            assert (response.status, "for this tenant" in await response.text()) == (503, True)
        for each in open_ones:
            each.close()


async def test_a_server_that_stops_does_not_wait_for_listeners(view: FixedView) -> None:
    async with serving(Stream(view.changed)) as client:
        response = await client.get("/")
        assert await response.content.readuntil(b"data: 1\n\n")
        await client.server.close()
        assert await response.content.read() == b""


def _always() -> Changed:
    async def changed(since: int) -> int:
        await asyncio.sleep(0)
        return since + 1

    return changed


async def test_a_listener_that_does_not_read_is_dropped() -> None:
    stream = Stream(_always(), least_seconds=0, write_seconds=0.2)
    app = web.Application()
    app.router.add_get("/", partial(stream.serve, principal=OPERATOR))
    runner = web.AppRunner(app)  # without the gate, which would drop the listener, too, but later
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # or the system would take in megabytes
    await web.SockSite(runner, listener).start()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)  # noqa: FBT003 - the parameter has no name
    try:
        await asyncio.get_running_loop().sock_connect(client, listener.getsockname())
        await asyncio.get_running_loop().sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(stream, 1)
        await until(stream, 0)
    finally:
        client.close()
        await runner.cleanup()


@pytest.fixture
def view() -> FixedView:
    return FixedView()
