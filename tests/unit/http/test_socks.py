"""SOCKS proxies: the requests to them, and the outcomes if they give no connection.

test_transport.py runs its whole contract through a SOCKS proxy, too.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from pipeline.auth.access_token import AccessToken
from pipeline.auth.token_endpoint import ClientCredentials
from pipeline.auth.token_request import PostForm
from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered, Failed, Outcome
from pipeline.core.subscription import HttpLimits, OAuth2Auth, Proxy, Subscription, TlsOptions
from pipeline.http.proxy import SystemProxies
from pipeline.http.resolver import Resolver
from pipeline.http.transport import Transport
from pipeline.http.webhook import Callback
from tests.support.calling import loopback_transport
from tests.support.receiver import HOST, Receiver, answer, silent
from tests.support.socks_proxy import Asked, SocksProxy

LIMITS = HttpLimits(connect_timeout_seconds=2.0, read_timeout_seconds=5.0)
TLS = TlsOptions()
EVENT = PlainEvent("events", 0, 1, b"s", b"body")


class Bench:
    """A callback that may reach loopback."""

    def __init__(self, stack: AsyncExitStack, transport: Transport) -> None:
        self.stack = stack
        self.transport = transport
        self.callback = Callback(
            transport, SystemClock(), user_agent="test/1", on_header_left_out=lambda _id, _name: None
        )

    async def receiver(self) -> Receiver:
        return await self.stack.enter_async_context(Receiver())

    async def call(self, url: str, proxy: Proxy | None, http: HttpLimits = LIMITS, tls: TlsOptions = TLS) -> Outcome:
        subscription = Subscription("s", 1, url, proxy=proxy, use_system_proxy=proxy is None, http=http, tls=tls)
        return await self.callback(subscription, EVENT, 1)


class Names(AbstractResolver):
    """A resolver that records names."""

    def __init__(self, addresses: dict[str, list[str]]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if not self._addresses[host]:
            raise socket.gaierror(socket.EAI_NONAME, "none here")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family or socket.AF_INET, proto=0, flags=0)
            for address in self._addresses[host]
        ]

    async def close(self) -> None:
        pass


async def made(
    stack: AsyncExitStack, system: SystemProxies, resolver: Callable[[], AbstractResolver] = Resolver
) -> Bench:
    transport = await stack.enter_async_context(loopback_transport(8, system=system, resolver=resolver))
    return Bench(stack, transport)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield await made(stack, SystemProxies())


@pytest.mark.parametrize(
    ("scheme", "username", "password", "version"),
    [
        ("socks4", None, None, 4),
        ("socks4", "user", None, 4),
        ("socks4a", None, None, 4),
        ("socks5", None, None, 5),
        ("socks5", "user", "secret", 5),
        ("socks5h", "user", " !~" * 85, 5),
    ],
)
async def test_each_kind_of_socks_proxy_gets_host_and_port(
    bench: Bench, scheme: str, username: str | None, password: str | None, version: int
) -> None:
    receiver = await bench.receiver()
    async with SocksProxy(None if username is None else (username, password or "")) as server:
        proxy = Proxy(server.url(scheme), username, password)
        assert await bench.call(receiver.url, proxy) == Delivered(200)
        assert server.asked == [Asked(version, HOST, receiver.port, username, password)]


async def test_a_proxy_that_asks_for_no_credentials_gets_none(bench: Bench) -> None:
    receiver = await bench.receiver()
    async with SocksProxy() as server:
        assert await bench.call(receiver.url, Proxy(server.url(), "user", "secret")) == Delivered(200)
        assert server.asked == [Asked(5, HOST, receiver.port, None)]


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
async def test_names_are_resolved_by_the_proxy(bench: Bench, scheme: str) -> None:
    receiver = await bench.receiver()
    async with SocksProxy() as server:
        url = f"http://localhost:{receiver.port}/hook"
        assert await bench.call(url, Proxy(server.url(scheme))) == Delivered(200)
        assert server.asked[0].host == "localhost"
    assert receiver.requests[0].line == "POST /hook HTTP/1.1"


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_the_system_s_proxy_may_be_a_socks_proxy(bench: Bench, scheme: str) -> None:
    receiver = await bench.receiver()
    async with SocksProxy(("us:er", "sec@ret")) as server, AsyncExitStack() as stack:
        system = SystemProxies({"all": server.url(scheme).replace("//", "//us%3Aer:sec%40ret@")})
        through = await made(stack, system)
        assert await through.call(receiver.url, None) == Delivered(200)
        assert server.asked == [Asked(5, HOST, receiver.port, "us:er", "sec@ret")]


@pytest.mark.parametrize(
    ("addresses", "outcome"),
    [
        (["127.0.0.2", HOST], Delivered(200)),
        ([], Failed("the host of the proxy can't be resolved: none here", may_have_arrived=False)),
        (["127.0.0.2"], Failed("connection refused by the proxy", may_have_arrived=False)),
    ],
)
async def test_each_address_of_a_proxy_is_tried(addresses: list[str], outcome: Outcome) -> None:
    async with SocksProxy() as server, AsyncExitStack() as stack:
        through = await made(stack, SystemProxies(), lambda: Names({"proxy.example": addresses}))
        receiver = await through.receiver()
        url = f"socks5://proxy.example:{server.port}"
        assert await through.call(receiver.url, Proxy(url)) == outcome


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
async def test_the_trailing_dot_of_a_host_does_not_affect_tls(bench: Bench, scheme: str) -> None:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    receiver = await bench.stack.enter_async_context(Receiver(tls=tls))
    trusted = TlsOptions(trusted_pem=authority.cert_pem.bytes().decode())
    async with SocksProxy() as server:
        url = f"https://localhost.:{receiver.port}/hook"
        assert await bench.call(url, Proxy(server.url(scheme)), tls=trusted) == Delivered(200)
        assert server.asked[0].host == "localhost."


async def test_a_token_endpoint_is_called_through_the_proxy(bench: Bench) -> None:
    token = b'{"access_token": "T1", "token_type": "Bearer", "expires_in": 60}'
    endpoint = await bench.stack.enter_async_context(Receiver(answer(200, token)))
    auth = OAuth2Auth(endpoint.url, "client", "client-secret")
    async with SocksProxy(("user", "secret")) as server:
        subscription = Subscription("s", 1, endpoint.url, auth=auth, proxy=Proxy(server.url(), "user", "secret"))
        fetched = await ClientCredentials(PostForm(bench.transport, "tests"), SystemClock())(subscription, auth)
        assert isinstance(fetched, AccessToken)
        assert server.asked == [Asked(5, HOST, endpoint.port, "user", "secret")]


async def test_connections_are_pooled_by_proxy_and_credentials(bench: Bench) -> None:
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


@pytest.mark.parametrize(
    ("scheme", "reason"),
    [("socks4", "request rejected or failed"), ("socks5", "connection not allowed by ruleset")],
)
async def test_a_refused_connection_is_reported_and_nothing_was_sent(bench: Bench, scheme: str, reason: str) -> None:
    receiver = await bench.receiver()
    async with SocksProxy(refuses=True) as server:
        error = failed(await bench.call(receiver.url, Proxy(server.url(scheme))))
        where = f"{HOST}:{receiver.port}"
        assert error == f"the proxy refused the connection to {where}: {reason}"
    assert receiver.connections == 0


@pytest.mark.parametrize(
    ("username", "password", "reason"),
    [
        ("user", "secret", "username and password authentication failure"),
        (None, None, "no acceptable authentication methods were offered"),
    ],
)
async def test_wrong_and_missing_credentials_are_reported(
    bench: Bench, username: str | None, password: str | None, reason: str
) -> None:
    receiver = await bench.receiver()
    async with SocksProxy(("user", "right")) as server:
        error = failed(await bench.call(receiver.url, Proxy(server.url(), username, password)))
        assert error.endswith(f" gave no connection to {HOST}:{receiver.port}: {reason}")
        assert server.asked == []
    assert receiver.connections == 0


@pytest.mark.parametrize(
    ("scheme", "username", "password", "sentence"),
    [
        ("socks5", "user", None, "proxy.password: is required with a username for SOCKS5"),
        ("socks5", None, "secret", "proxy.username: is required with a password for SOCKS5"),
        ("socks5", "user", "sécret", "proxy.password: has characters that can't be sent to a SOCKS proxy"),
        ("socks5", "user", "secret" * 50, "proxy.password: has 300 bytes; allowed for a SOCKS proxy: up to 255"),
        ("socks4", "secret\0", None, "proxy.username: has characters that can't be sent to a SOCKS proxy"),
        ("socks4", "user", "secret", "proxy.password: SOCKS4 supports only a user name"),
    ],
)
async def test_credentials_that_can_t_be_sent_to_a_proxy_are_refused(
    bench: Bench, scheme: str, username: str | None, password: str | None, sentence: str
) -> None:
    async with SocksProxy() as server:
        error = failed(await bench.call("http://127.0.0.1:9", Proxy(server.url(scheme), username, password)))
        assert error.startswith(sentence)
        assert not server.reached.is_set()


@pytest.mark.parametrize(
    ("scheme", "says", "reason"),
    [
        ("socks4", b"", "connection closed unexpectedly"),
        ("socks5", b"", "connection closed unexpectedly"),
        ("socks4", b"\0\x5a\0", "connection closed unexpectedly"),
        ("socks5", b"\5", "connection closed unexpectedly"),
        ("socks4", b"HTTP/1.1 400 secret\r\n\r\n", "unexpected reply version: 0X48"),
        ("socks5", b"HTTP/1.1 400 secret\r\n\r\n", "unexpected SOCKS version number: 72"),
        ("socks4", b"\0\7" + bytes(6), "invalid reply code: 0X7"),
        ("socks5", b"\5\7", "invalid authentication method: 0X7"),
        ("socks5", b"\5\0\5\0\0\3\4\xff\xff\xff\xff\0\0", "malformed connect reply"),
        ("socks5", b"\5\0\5\0\0\7", "invalid address type: 0X7"),
    ],
)
async def test_an_answer_that_is_not_socks_is_reported(bench: Bench, scheme: str, says: bytes, reason: str) -> None:
    async with SocksProxy(says=says) as server:
        error = failed(await bench.call("http://127.0.0.1:9", Proxy(server.url(scheme))))
        assert error == f"the proxy gave no connection to 127.0.0.1:9: {reason}"
        await asyncio.wait_for(server.left.wait(), 5)


@pytest.mark.parametrize(("host", "shown"), [(HOST, HOST), ("::1", "[::1]")])
async def test_a_missing_proxy_is_reported(bench: Bench, host: str, shown: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    error = failed(await bench.call("http://127.0.0.1:9", Proxy(f"socks5://{shown}:{port}", "user", "secret")))
    assert error == "connection refused by the proxy"


@pytest.mark.parametrize("name", ["a" * 64, "a." * 150 + "a"])
@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
async def test_an_invalid_host_name_is_not_blamed_on_the_proxy(bench: Bench, scheme: str, name: str) -> None:
    async with SocksProxy(refuses=True) as server:
        error = failed(await bench.call(f"http://{name}:9", Proxy(server.url(scheme))))
    if len(name) == 64 or scheme == "socks5":
        assert error == f"the host of {name}:9 is not a host name"
    else:
        assert "refused the connection" in error, "SOCKS4a does not limit the length of names"


async def test_a_silent_proxy_ends_with_the_connect_timeout(bench: Bench) -> None:
    hasty = replace(LIMITS, connect_timeout_seconds=0.1)
    async with SocksProxy(is_silent=True) as server:
        outcome = await bench.call("http://127.0.0.1:9", Proxy(server.url()), hasty)
        assert "within 0.1 s" in failed(outcome)
        assert isinstance(outcome, Failed)
        assert outcome.timed_out
        await asyncio.wait_for(server.left.wait(), 5)


async def test_the_connect_timeout_includes_the_tls_handshake(bench: Bench) -> None:
    hasty = replace(LIMITS, connect_timeout_seconds=0.2)
    deaf = await bench.stack.enter_async_context(Receiver(silent))  # waits for an HTTP head, but none comes
    async with SocksProxy() as server:
        outcome = await bench.call(deaf.url.replace("http:", "https:"), Proxy(server.url()), hasty)
        assert len(server.asked) == 1
        await asyncio.wait_for(server.left.wait(), 5)
    assert failed(outcome) == f"no connection to {HOST}:{deaf.port} through the proxy within 0.2 s"


async def test_the_guard_checks_an_address_behind_the_proxy(bench: Bench) -> None:
    async with SocksProxy() as server:
        assert "the private network" in failed(await bench.call("http://10.0.0.1/", Proxy(server.url())))
        assert server.asked == []


async def test_an_attempt_that_is_cancelled_leaves_no_socket_behind(bench: Bench) -> None:
    async with SocksProxy(is_silent=True) as server:
        call = asyncio.ensure_future(bench.call("http://127.0.0.1:9", Proxy(server.url())))
        await asyncio.wait_for(server.reached.wait(), 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(server.left.wait(), 5)
