"""SOCKS proxies: what they are asked, and what it means when they give no connection.

That everything else is as it is without one, test_callback_transport.py proves by running its contract through one.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import ip_network

import pytest

from pipeline.callback.callback import Callback
from pipeline.callback.guard import Guard
from pipeline.callback.routes import SystemProxies
from pipeline.callback.transport import Transport
from pipeline.clock import SystemClock
from pipeline.model import HttpLimits, Proxy, Record, Subscription
from pipeline.outcome import Delivered, Failed, Outcome
from tests.receiver import HOST, Receiver
from tests.socks_proxy import Asked, SocksProxy

LIMITS = HttpLimits(connect_timeout_seconds=2.0, read_timeout_seconds=5.0)
EVENT = Record("events", 0, 1, b"s", b"body")


class Bench:
    """A callback that may reach loopback."""

    def __init__(self, stack: AsyncExitStack, transport: Transport) -> None:
        self.stack = stack
        self.callback = Callback(transport, SystemClock(), user_agent="test/1", on_header_left_out=lambda _name: None)

    async def receiver(self) -> Receiver:
        return await self.stack.enter_async_context(Receiver())

    async def call(self, url: str, proxy: Proxy | None, http: HttpLimits = LIMITS) -> Outcome:
        subscription = Subscription("s", 1, url, proxy=proxy, use_system_proxy=proxy is None, http=http)
        return await self.callback(subscription, EVENT, 1)


async def made(stack: AsyncExitStack, system: SystemProxies) -> Bench:
    guard = Guard([ip_network("127.0.0.0/8")])
    transport = Transport(guard=guard, max_in_flight=8, idle_timeout_seconds=60.0, system_proxies=system)
    await transport.start()
    stack.push_async_callback(transport.close)
    return Bench(stack, transport)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield await made(stack, SystemProxies())


@pytest.mark.parametrize(
    ("scheme", "credentials", "asked"),
    [
        ("socks4", None, (4, None, None)),
        ("socks4", ("user", ""), (4, "user", None)),
        ("socks4a", None, (4, None, None)),
        ("socks5", None, (5, None, None)),
        ("socks5", ("user", "secret"), (5, "user", "secret")),
        ("socks5h", ("user", ""), (5, "user", "")),
    ],
)
async def test_a_proxy_of_each_kind_is_asked_by_address(
    bench: Bench, scheme: str, credentials: tuple[str, str] | None, asked: tuple[int, str | None, str | None]
) -> None:
    if credentials == ("user", ""):
        credentials = None if scheme == "socks5h" else credentials
    receiver = await bench.receiver()
    async with SocksProxy(credentials) as server:
        proxy = Proxy(server.url(scheme), asked[1], asked[2])
        assert await bench.call(receiver.url, proxy) == Delivered(200)
        version, username, password = asked
        if scheme == "socks5h":
            username = password = None  # the proxy did not ask
        assert server.asked == [Asked(version, HOST, receiver.port, username, password)]


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
async def test_names_are_resolved_by_the_proxy(bench: Bench, scheme: str) -> None:
    receiver = await bench.receiver()
    async with SocksProxy() as server:
        url = f"http://localhost:{receiver.port}/hook"
        assert await bench.call(url, Proxy(server.url(scheme))) == Delivered(200)
        assert server.asked[0].host == "localhost"
    assert receiver.requests[0].line == "POST /hook HTTP/1.1"


async def test_the_systems_proxy_may_be_one(bench: Bench) -> None:
    receiver = await bench.receiver()
    async with SocksProxy(("user", "secret")) as server, AsyncExitStack() as stack:
        system = SystemProxies({"all": server.url().replace("//", "//user:secret@")})
        through = await made(stack, system)
        assert await through.call(receiver.url, None) == Delivered(200)
        assert server.asked == [Asked(5, HOST, receiver.port, "user", "secret")]


async def test_connections_are_kept_per_proxy_and_credentials(bench: Bench) -> None:
    receiver = await bench.receiver()
    async with SocksProxy() as server, SocksProxy() as other:
        for proxy in [Proxy(server.url())] * 3 + [Proxy(server.url(), "user", "a")] * 2 + [Proxy(other.url())]:
            assert await bench.call(receiver.url, proxy) == Delivered(200)
        assert len(server.asked) == 2
        assert len(other.asked) == 1
    assert receiver.connections == 3


def failed(outcome: Outcome) -> str:
    assert isinstance(outcome, Failed)
    assert not outcome.may_have_arrived
    assert "secret" not in outcome.error
    return outcome.error


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
async def test_a_refusal_is_said_and_nothing_was_sent(bench: Bench, scheme: str) -> None:
    receiver = await bench.receiver()
    async with SocksProxy(refuses=True) as server:
        error = failed(await bench.call(receiver.url, Proxy(server.url(scheme))))
        assert error.startswith(f"the proxy {HOST}:{server.port} gave no connection to {HOST}:{receiver.port}: ")
    assert receiver.connections == 0


async def test_wrong_and_missing_credentials_are_said(bench: Bench) -> None:
    receiver = await bench.receiver()
    async with SocksProxy(("user", "right")) as server:
        for proxy in (Proxy(server.url(), "user", "secret"), Proxy(server.url())):
            assert "gave no connection" in failed(await bench.call(receiver.url, proxy))
        assert server.asked == []


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05", b"\x05\x07", b"\x00\x5a"])
@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
async def test_what_is_no_socks_is_said(bench: Bench, scheme: str, says: bytes) -> None:
    receiver = await bench.receiver()
    async with SocksProxy(says=says) as server:
        assert "gave no connection" in failed(await bench.call(receiver.url, Proxy(server.url(scheme))))


async def test_a_proxy_that_is_not_there_is_said(bench: Bench) -> None:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    error = failed(await bench.call("http://127.0.0.1:9", Proxy(f"socks5://{HOST}:{port}", "user", "secret")))
    assert error == f"no connection to the proxy {HOST}:{port}: Connection refused"


async def test_a_silent_proxy_costs_the_connect_timeout(bench: Bench) -> None:
    hasty = replace(LIMITS, connect_timeout_seconds=0.1)
    async with SocksProxy(is_silent=True) as server:
        outcome = await bench.call("http://127.0.0.1:9", Proxy(server.url()), hasty)
    assert "within 0.1 s" in failed(outcome)
    assert isinstance(outcome, Failed)
    assert outcome.timed_out


async def test_the_guard_judges_an_address_behind_the_proxy(bench: Bench) -> None:
    async with SocksProxy() as server:
        assert "the private network" in failed(await bench.call("http://10.0.0.1/", Proxy(server.url())))
        assert server.asked == []


async def test_an_attempt_that_is_cancelled_leaves_no_socket_behind(bench: Bench) -> None:
    async with SocksProxy(is_silent=True) as server:
        call = asyncio.ensure_future(bench.call("http://127.0.0.1:9", Proxy(server.url())))
        while not server._tasks:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
