"""HTTP proxies: what they receive, and the outcomes if they refuse a tunnel or a request.

test_transport.py runs its whole contract through a proxy, too.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import trustme
import uvloop

from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered, Failed, Outcome, Rejected, ServerError
from pipeline.core.subscription import HttpLimits, Proxy, Subscription, TlsOptions
from pipeline.http.transport import Transport
from pipeline.http.webhook import Callback
from tests.support.calling import loopback_transport
from tests.support.forward_proxy import ForwardProxy
from tests.support.receiver import HOST, Behaviour, Receiver, answer, endless, hang_up, raw, reset, silent
from tests.support.socks_proxy import SocksProxy

LIMITS = HttpLimits(connect_timeout_seconds=5.0, read_timeout_seconds=5.0)
HASTY = replace(LIMITS, connect_timeout_seconds=0.2)
EVENT = PlainEvent("events", 0, 1, b"s", b"body")
AUTHORITY, STRANGER = trustme.CA(), trustme.CA()
TRUSTED = TlsOptions(trusted_pem=AUTHORITY.cert_pem.bytes().decode())
BASIC = "Basic dXNlcjpwcm94eS1zZWNyZXQ="
UNREACHED = f"https://{HOST}:9/hook"
"""An address that is never reached, because the proxy does not forward anything."""


def server(host: str = HOST, authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    return context


class Bench:
    """A callback that may reach loopback."""

    def __init__(self, stack: AsyncExitStack, transport: Transport) -> None:
        self.stack = stack
        self.callback = Callback(
            transport, SystemClock(), user_agent="test/1", on_header_left_out=lambda _id, _name: None
        )

    async def receiver(self, *script: Behaviour, tls: ssl.SSLContext | None = None) -> Receiver:
        return await self.stack.enter_async_context(Receiver(*script, tls=tls))

    async def call(self, url: str, proxy: Proxy, http: HttpLimits = LIMITS) -> Outcome:
        return await self.callback(Subscription("s", 1, url, proxy=proxy, tls=TRUSTED, http=http), EVENT, 1)

    async def connect(self, *script: Behaviour, http: HttpLimits = LIMITS) -> tuple[Outcome, Receiver]:
        """Call a receiver with TLS through a proxy that answers CONNECT by *script*. Returns outcome and proxy."""
        proxy = await self.receiver(*script)
        url = proxy.url.removesuffix("/hook")
        return await self.call(UNREACHED, Proxy(url, "user", "proxy-secret"), http), proxy


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(loopback_transport(4))
        yield Bench(stack, transport)


def failed(outcome: Outcome) -> str:
    """Check that the attempt can't have arrived, and return its error message."""
    assert isinstance(outcome, Failed)
    assert not outcome.may_have_arrived
    assert "secret" not in outcome.error
    return outcome.error


async def test_only_the_proxy_sees_the_credentials_of_a_tunnel(bench: Bench) -> None:
    receiver = await bench.receiver(tls=server())
    async with ForwardProxy(BASIC) as proxy:
        assert await bench.call(receiver.url, Proxy(proxy.url, "user", "proxy-secret")) == Delivered(200)
        [asked] = proxy.requests
        assert asked.line == f"CONNECT {HOST}:{receiver.port} HTTP/1.1"
        assert asked.all("proxy-authorization") == [BASIC]
        assert asked.all("host") == [f"{HOST}:{receiver.port}"]
        assert asked.header("webhook-id") is None
    assert receiver.requests[0].header("proxy-authorization") is None


@pytest.mark.parametrize("status", [204, 302, 400, 403, 407, 500, 502, 503, 504])
async def test_an_answer_other_than_200_to_connect_is_a_failure(bench: Bench, status: int) -> None:
    outcome, proxy = await bench.connect(answer(status))
    assert failed(outcome) == f"the proxy answered {status} to CONNECT {HOST}:9"
    await proxy.until(lambda it: it.open_connections == 0)


@pytest.mark.parametrize("username", [None, "other"])
async def test_a_proxy_that_rejects_the_credentials_opens_no_tunnel(bench: Bench, username: str | None) -> None:
    async with ForwardProxy(BASIC) as proxy:
        error = failed(await bench.call(UNREACHED, Proxy(proxy.url, username, None if username is None else "secret")))
        assert error == f"the proxy answered 407 to CONNECT {HOST}:9"


async def test_a_407_to_a_forwarded_request_is_not_a_rejection(bench: Bench) -> None:
    receiver = await bench.receiver()
    async with ForwardProxy(BASIC) as proxy:
        assert await bench.call(receiver.url, Proxy(proxy.url, "user", "other-secret")) == Failed(
            "the proxy answered 407 and wants other credentials", may_have_arrived=True
        )
    assert receiver.requests == []


async def test_a_407_through_a_tunnel_comes_from_the_receiver(bench: Bench) -> None:
    receiver = await bench.receiver(answer(407), tls=server())
    async with ForwardProxy() as proxy:
        assert await bench.call(receiver.url, Proxy(proxy.url)) == Rejected(407)


async def test_a_502_to_a_forwarded_request_may_be_from_the_receiver(bench: Bench) -> None:
    proxy = await bench.receiver(answer(502, b"no way"))
    outcome = await bench.call("http://127.0.0.1:9/hook", Proxy(proxy.url.removesuffix("/hook")))
    assert outcome == ServerError(502, b"no way")


@pytest.mark.parametrize(
    "says",
    [
        b"\x05\x00",
        b"not http\r\n\r\n",
        b"HTTP/1.1 20O OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_an_invalid_answer_to_connect_is_not_quoted(bench: Bench, says: bytes) -> None:
    outcome, proxy = await bench.connect(raw(says, then_close=True))
    assert failed(outcome) in {
        f"the answer from the proxy to CONNECT {HOST}:9 is not valid HTTP",
        f"the proxy closed the connection before it answered CONNECT {HOST}:9",
    }
    await proxy.until(lambda it: it.open_connections == 0)


@pytest.mark.parametrize("end", [hang_up, reset, raw(b"HTTP/1.1 200", then_close=True)])
async def test_a_proxy_that_closes_without_an_answer_is_named(bench: Bench, end: Behaviour) -> None:
    outcome, _ = await bench.connect(end)
    assert failed(outcome) == f"the proxy closed the connection before it answered CONNECT {HOST}:9"


@pytest.mark.parametrize(
    "hang", [silent, raw(b"HTTP/1.1 200 OK\r\nX: "), raw(b"HTTP/1.1 200 Connection established\r\n\r\n")]
)
async def test_a_hanging_proxy_or_tunnel_ends_with_the_connect_timeout(bench: Bench, hang: Behaviour) -> None:
    outcome, proxy = await bench.connect(hang, http=HASTY)
    assert failed(outcome) == f"no connection to {HOST}:9 through the proxy within 0.2 s"
    assert isinstance(outcome, Failed)
    assert outcome.timed_out
    await proxy.until(lambda it: it.open_connections == 0)


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 500 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 4096),
        (b"", b"y" * 4096),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 4096),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"y" * 4096),
        (b"HTTP/1.1 502 No\r\nContent-Length: 99999999999\r\n\r\n", b"y" * 4096),
        (b"HTTP/1.1 502 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"y" * 4096 + b"\r\n"),
    ],
)
async def test_an_endless_answer_to_connect_is_not_read_to_its_end(bench: Bench, start: bytes, piece: bytes) -> None:
    outcome, proxy = await bench.connect(endless(start, piece))
    assert failed(outcome)
    assert isinstance(outcome, Failed)
    assert not outcome.timed_out
    await proxy.until(lambda it: it.open_connections == 0)


async def test_endless_interim_answers_of_a_proxy_have_a_time_limit(bench: Bench) -> None:
    outcome, proxy = await bench.connect(endless(b"", b"HTTP/1.1 102 Wait\r\n\r\n"), http=HASTY)
    assert failed(outcome)
    await proxy.until(lambda it: it.open_connections == 0)


async def test_a_tunnel_to_a_server_without_tls_is_reported(bench: Bench) -> None:
    receiver = await bench.receiver()
    async with ForwardProxy() as proxy:
        error = failed(await bench.call(f"https://{HOST}:{receiver.port}/", Proxy(proxy.url), HASTY))
    assert error == f"no connection to {HOST}:{receiver.port} through the proxy within 0.2 s"


# Proxies that are called with TLS


async def test_an_https_proxy_is_called_with_tls(bench: Bench) -> None:
    receiver = await bench.receiver()
    async with ForwardProxy(BASIC, tls=server()) as proxy:
        assert await bench.call(receiver.url, Proxy(proxy.url, "user", "proxy-secret")) == Delivered(200)
        assert proxy.requests[0].line == f"POST {receiver.url} HTTP/1.1"


async def test_tls_to_the_receiver_runs_within_tls_to_the_proxy(bench: Bench) -> None:
    receiver = await bench.receiver(answer(200), answer(201), tls=server())
    async with ForwardProxy(BASIC, tls=server()) as proxy:
        way = Proxy(proxy.url, "user", "proxy-secret")
        assert await bench.call(receiver.url, way) == Delivered(200)
        assert await bench.call(receiver.url, way) == Delivered(201)
        assert [request.line for request in proxy.requests] == [f"CONNECT {HOST}:{receiver.port} HTTP/1.1"]
    assert receiver.connections == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_gets_nothing_before_its_certificate_is_trusted(bench: Bench, scheme: str) -> None:
    async with ForwardProxy(BASIC, tls=server(authority=STRANGER)) as proxy:
        error = failed(await bench.call(f"{scheme}://{HOST}:9/", Proxy(proxy.url, "user", "proxy-secret")))
        assert error.startswith("the certificate of the proxy is not trusted: ")
        assert proxy.requests == []


async def test_an_untrusted_proxy_is_reported_without_its_name(bench: Bench) -> None:
    async with ForwardProxy(BASIC, tls=server("elsewhere.example")) as proxy:
        for host in (HOST, "localhost"):
            error = failed(await bench.call("http://receiver.example/", Proxy(f"https://{host}:{proxy.port}")))
            assert error.startswith("the certificate of the proxy is not trusted: ")
            assert error.endswith(" mismatch")


async def test_the_receiver_s_certificate_is_verified_behind_a_proxy(bench: Bench) -> None:
    receiver = await bench.receiver(tls=server("elsewhere.example"))
    async with ForwardProxy(tls=server()) as proxy:
        error = failed(await bench.call(receiver.url, Proxy(proxy.url)))
    assert receiver.requests == []
    # Some versions of asyncio lose the error of the inner TLS. Workers run on uvloop.
    if isinstance(asyncio.get_running_loop(), uvloop.Loop):
        assert error.startswith(f"the certificate of {HOST}:{receiver.port} is not trusted: ")


async def test_a_proxy_without_tls_is_reported(bench: Bench) -> None:
    async with SocksProxy(says=b"HTTP/1.1 400 Bad Request\r\n\r\n") as plain:  # it answers as soon as it gets a byte
        error = failed(await bench.call("http://127.0.0.1:9/", Proxy(f"https://{HOST}:{plain.port}")))
    assert error.startswith("the TLS handshake with the proxy failed: ")
