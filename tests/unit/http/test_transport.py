"""The contract of `Callback` with real sockets: direct, with TLS, and through proxies and tunnels of each kind."""

import asyncio
import contextlib
import gzip
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from ipaddress import ip_network
from itertools import product
from typing import Literal, get_args

import pytest
import trustme

from pipeline.core.clock import SystemClock
from pipeline.core.errors import LeaseEndedError
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered, Failed, Outcome, Rejected, ServerError
from pipeline.core.subscription import Header, HttpLimits, OAuth2Auth, Proxy, Qos, Subscription, TlsOptions
from pipeline.http.proxy import SystemProxies
from pipeline.http.response import Answer
from pipeline.http.ssrf_guard import Guard
from pipeline.http.transport import MAX_INTERIM_ANSWERS, Transport
from pipeline.http.webhook import AT_MOST_ONCE_IDLE_SECONDS, Callback
from tests.support.forward_proxy import ForwardProxy
from tests.support.receiver import (
    Behaviour,
    Exchange,
    Receiver,
    answer,
    endless,
    hang_up,
    held,
    in_pieces,
    raw,
    reset,
    silent,
    stalled,
)
from tests.support.socks_proxy import SocksProxy

Route = Literal["straight", "tls", "proxy", "tunnel", "socks", "socks-tls"]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
ROUTES: tuple[Route, ...] = get_args(Route)

LOOPBACK = Guard([ip_network("127.0.0.0/8"), ip_network("::1/128")])
LIMITS = HttpLimits(connect_timeout_seconds=2.0, read_timeout_seconds=5.0)
HASTY = replace(LIMITS, read_timeout_seconds=0.1)
AUTHORITY = trustme.CA()
SERVER_TLS = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
AUTHORITY.issue_cert("127.0.0.1").configure_cert(SERVER_TLS)
PROXY_CREDENTIALS = "Basic dXNlcjpwcm94eS1zZWNyZXQ="


def event(offset: int = 0, value: bytes | None = b"body") -> PlainEvent:
    return PlainEvent("events", 0, offset, b"sub-1", value)


@dataclass
class Bench:
    """All parts between a subscription and a receiver, for one route."""

    route: Route
    stack: AsyncExitStack
    transport: Transport
    callback: Callback
    left_out: list[tuple[str, str]]

    async def receiver(self, *script: Behaviour, reads_body: bool = True) -> Receiver:
        tls = SERVER_TLS if self.route in {"tls", "tunnel", "socks-tls"} else None
        return await self.stack.enter_async_context(Receiver(*script, tls=tls, reads_body=reads_body))

    async def subscription(self, receiver: Receiver, http: HttpLimits = LIMITS) -> Subscription:
        proxy = None
        if self.route in {"proxy", "tunnel"}:
            server = await self.stack.enter_async_context(ForwardProxy(PROXY_CREDENTIALS))
            proxy = Proxy(server.url, "user", "proxy-secret")
        if self.route in {"socks", "socks-tls"}:
            socks = await self.stack.enter_async_context(SocksProxy(("user", "proxy-secret")))
            proxy = Proxy(socks.url(), "user", "proxy-secret")
        trusted = TlsOptions(trusted_pem=AUTHORITY.cert_pem.bytes().decode())
        return Subscription("sub-1", 1, receiver.url, tls=trusted, proxy=proxy, http=http)

    async def call(self, *script: Behaviour, http: HttpLimits = LIMITS, reads_body: bool = True) -> Outcome:
        receiver = await self.receiver(*script, reads_body=reads_body)
        return await self.callback(await self.subscription(receiver, http), event(), 1)


async def bench(
    route: Route,
    stack: AsyncExitStack,
    idle_timeout_seconds: float = 60.0,
    limit: int = 20,
    system: SystemProxies | None = None,
) -> Bench:
    transport = Transport(
        guard=LOOPBACK,
        max_in_flight=limit,
        idle_timeout_seconds=idle_timeout_seconds,
        system_proxies=system or SystemProxies(),
    )
    await transport.start()
    stack.push_async_callback(transport.close)
    left_out: list[tuple[str, str]] = []
    callback = Callback(
        transport,
        SystemClock(),
        user_agent="test/1",
        on_header_left_out=lambda subscription, name: left_out.append((subscription, name)),
    )
    return Bench(route, stack, transport, callback, left_out)


@pytest.fixture(params=ROUTES)
async def any_route(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield await bench(request.param, stack)


@pytest.fixture
async def straight() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield await bench("straight", stack)


async def test_a_connection_is_made_without_a_lookup_by_the_event_loop(
    any_route: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def look_up(*question: object, **_options: object) -> list[object]:
        asked.append(question)
        raise OSError(socket.EAI_AGAIN, "every thread is taken")

    receiver = await any_route.receiver()
    subscription = await any_route.subscription(receiver)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    assert await any_route.callback(subscription, event(), 1) == Delivered(200)
    assert asked == []


async def test_a_request_has_the_event_s_value_and_headers(any_route: Bench) -> None:
    receiver = await any_route.receiver()
    outcome = await any_route.callback(await any_route.subscription(receiver), event(41, b"\x00\xffbody"), 3)
    assert outcome == Delivered(200)
    [request] = receiver.requests
    assert request.line == "POST /hook HTTP/1.1"
    assert request.body == b"\x00\xffbody"
    assert request.all("host") == [f"127.0.0.1:{receiver.port}"]
    assert request.all("webhook-id") == ["events-0-41"]
    assert request.all("webhook-attempt") == ["3"]
    assert request.all("webhook-subscription") == ["sub-1"]
    assert request.all("content-type") == ["application/json"]
    assert request.all("content-length") == ["6"]
    assert request.all("proxy-authorization") == []


async def test_an_event_without_a_valid_lease_is_not_sent(any_route: Bench) -> None:
    def refuse() -> None:
        raise LeaseEndedError("just now")

    receiver = await any_route.receiver()
    subscription = await any_route.subscription(receiver)
    late = Callback(
        any_route.transport,
        SystemClock(),
        user_agent="test/1",
        on_header_left_out=lambda _id, _name: None,
        check=refuse,
    )
    for _ in range(2):
        assert await any_route.callback(subscription, event(), 1) == Delivered(200)
        with pytest.raises(LeaseEndedError):
            await late(subscription, event(), 1)
    assert len(receiver.requests) == 2
    await receiver.until(lambda it: it.open_connections == 0)


async def test_a_null_value_is_sent_as_an_empty_body(any_route: Bench) -> None:
    receiver = await any_route.receiver()
    assert await any_route.callback(await any_route.subscription(receiver), event(value=None), 1) == Delivered(200)
    assert receiver.requests[0].body == b""
    assert receiver.requests[0].all("content-length") == ["0"]


async def test_a_left_out_header_is_reported_with_its_subscription(straight: Bench) -> None:
    subscription = await straight.subscription(await straight.receiver())
    subscription = replace(subscription, headers=(Header("Content-Length", "5"),))
    assert await straight.callback(subscription, event(), 1) == Delivered(200)
    assert straight.left_out == [("sub-1", "Content-Length")]


async def test_a_big_body_arrives_whole(any_route: Bench) -> None:
    receiver = await any_route.receiver()
    body = bytes(range(256)) * 12_000
    assert await any_route.callback(await any_route.subscription(receiver), event(value=body), 1) == Delivered(200)
    assert receiver.requests[0].body == body


async def test_2xx_is_delivered(any_route: Bench) -> None:
    for status in (200, 201, 202, 204, 299):
        body = b"" if status == 204 else b"thanks"
        assert await any_route.call(answer(status, body)) == Delivered(status)


@pytest.mark.parametrize("status", [300, 301, 302, 307, 308, 400, 401, 404, 408, 410, 425, 429, 499])
async def test_3xx_and_4xx_are_rejected_and_no_redirect_is_followed(straight: Bench, status: int) -> None:
    receiver = await straight.receiver(answer(status, b"no", [("Location", "/elsewhere")]))
    outcome = await straight.callback(await straight.subscription(receiver), event(), 1)
    assert outcome == Rejected(status, b"no")
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 600, 999])
async def test_5xx_and_higher_statuses_are_server_errors(straight: Bench, status: int) -> None:
    assert await straight.call(answer(status, b"oops")) == ServerError(status, b"oops")


async def test_the_retry_after_header_is_read(any_route: Bench) -> None:
    assert await any_route.call(answer(429, headers=[("Retry-After", "17")])) == Rejected(429, b"", 17.0)
    assert await any_route.call(answer(503, headers=[("retry-after", " 3 ")])) == ServerError(503, b"", 3.0)


async def test_a_401_is_about_the_token_if_one_was_sent(straight: Bench) -> None:
    receiver = await straight.receiver(answer(401))
    subscription = replace(await straight.subscription(receiver), auth=OAuth2Auth("https://t.example/", "c", "s"))
    outcome = await straight.callback(subscription, event(), 1, "Bearer fresh")
    assert outcome == Rejected(401, token_used=True)
    assert receiver.requests[0].all("authorization") == ["Bearer fresh"]


async def test_the_first_kibibyte_of_an_answer_is_kept(any_route: Bench) -> None:
    body = bytes(range(256)) * 40
    assert await any_route.call(answer(400, body)) == Rejected(400, body[:1024])


@pytest.mark.parametrize("coding", ["gzip", " GZIP", "deflate, gzip", "br", "identity, gzip"])
async def test_a_compressed_body_is_neither_decompressed_nor_kept(straight: Bench, coding: str) -> None:
    """A secret that the receiver repeats in it could not be masked."""
    packed = gzip.compress(b"\0" * 5_000_000)
    assert await straight.call(answer(400, packed, [("Content-Encoding", coding)])) == Rejected(400)
    assert await straight.call(answer(400, b"a", [("Content-Encoding", "Identity")])) == Rejected(400, b"a")


async def test_a_chunked_answer_is_read(any_route: Bench) -> None:
    chunked = b"HTTP/1.1 418 -\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert await any_route.call(raw(chunked)) == Rejected(418, b"abcde")


async def test_many_small_chunks_leave_the_connection_usable(straight: Bench) -> None:
    chunked = b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5_000 + b"0\r\n\r\n"
    receiver = await straight.receiver(raw(chunked), answer(202))
    subscription = await straight.subscription(receiver)
    assert await straight.callback(subscription, event(), 1) == Delivered(200)
    assert await straight.callback(subscription, event(), 1) == Delivered(202)
    assert receiver.connections == 1


async def test_a_body_without_length_ends_with_the_connection(any_route: Bench) -> None:
    assert await any_route.call(raw(b"HTTP/1.1 404 -\r\n\r\nnone here", then_close=True)) == Rejected(404, b"none here")


async def test_the_head_of_an_answer_may_arrive_in_pieces(straight: Bench) -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert await straight.call(in_pieces(*(data[at : at + 7] for at in range(0, len(data), 7)))) == Delivered(200)


async def test_interim_answers_are_skipped(any_route: Bench) -> None:
    interim = b"HTTP/1.1 100 -\r\n\r\nHTTP/1.1 103 -\r\nLink: <a>\r\n\r\n"
    assert await any_route.call(raw(interim + b"HTTP/1.1 200 -\r\nContent-Length: 0\r\n\r\n")) == Delivered(200)


@pytest.mark.parametrize(
    "data", [b"HTTP/1.1 101 -\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes", b"HTTP/1.1 101 -\r\n\r\n"]
)
async def test_a_101_is_final_and_closes_the_connection(straight: Bench, data: bytes) -> None:
    receiver = await straight.receiver(raw(data), answer(200))
    subscription = await straight.subscription(receiver)
    assert await straight.callback(subscription, event(), 1) == Rejected(101)
    assert await straight.callback(subscription, event(), 1) == Delivered(200)
    assert receiver.connections == 2


async def test_an_endless_series_of_interim_answers_is_cut_off(straight: Bench) -> None:
    receiver = await straight.receiver(endless(b"", b"HTTP/1.1 100 -\r\n\r\n" * (MAX_INTERIM_ANSWERS // 4)))
    assert await straight.callback(await straight.subscription(receiver), event(), 1) == Rejected(100)
    await receiver.until(lambda it: it.open_connections == 0)


# Requests without a complete answer


async def test_a_refused_connection_proves_that_nothing_arrived(any_route: Bench) -> None:
    receiver = await any_route.receiver()
    subscription = await any_route.subscription(receiver)
    await receiver.stop()
    outcome = await any_route.callback(subscription, event(), 1)
    if any_route.route in {"straight", "tls"}:
        assert outcome == Failed(f"connection refused by 127.0.0.1:{receiver.port}", may_have_arrived=False)
    else:  # the proxy closes the connection: only before a tunnel is it certain that nothing was sent
        assert isinstance(outcome, Failed)
        assert outcome.may_have_arrived == (any_route.route == "proxy")


async def test_a_refused_proxy_is_named(straight: Bench) -> None:
    receiver = await straight.receiver()
    async with ForwardProxy() as proxy:
        gone = proxy.url
    subscription = replace(await straight.subscription(receiver), proxy=Proxy(gone))
    outcome = await straight.callback(subscription, event(), 1)
    assert outcome == Failed("connection refused by the proxy", may_have_arrived=False)


async def test_if_the_proxy_refuses_a_tunnel_nothing_has_arrived() -> None:
    async with AsyncExitStack() as stack:
        it = await bench("tunnel", stack)
        receiver = await it.receiver()
        subscription = await it.subscription(receiver)
        assert subscription.proxy is not None
        wrong = replace(subscription, proxy=replace(subscription.proxy, password="wrong-secret"))
        outcome = await it.callback(wrong, event(), 1)
        assert outcome == Failed(
            f"the proxy answered 407 to CONNECT 127.0.0.1:{receiver.port}",
            may_have_arrived=False,
        )
        assert receiver.requests == []


async def test_silence_is_a_timeout_and_the_connection_is_closed(any_route: Bench) -> None:
    receiver = await any_route.receiver(silent)
    outcome = await any_route.callback(await any_route.subscription(receiver, HASTY), event(), 1)
    where = f"127.0.0.1:{receiver.port}"
    assert outcome == Failed(f"no complete answer from {where} within 0.1 s", may_have_arrived=True, timed_out=True)
    await receiver.until(lambda it: it.open_connections == 0)


HALVES = (
    b"HTTP/1.1 200 OK\r\nContent-Len",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    b"HTTP/1.1 500 -\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 100 -\r\n\r\n",
)


async def test_half_an_answer_and_then_silence_is_a_timeout(any_route: Bench) -> None:
    outcomes = await asyncio.gather(*(any_route.call(stalled(start), http=HASTY) for start in HALVES))
    for start, outcome in zip(HALVES, outcomes, strict=True):
        assert isinstance(outcome, Failed), start
        assert (outcome.may_have_arrived, outcome.timed_out) == (True, True), start


BROKEN = (
    (b"", "closed the connection without an answer"),
    (b"HTTP/1.1 200 OK\r\nContent-Len", "closed the connection in the middle of its answer"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "is incomplete or not valid HTTP"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal", "is incomplete or not valid HTTP"),
    (b"HTTP/1.1 100 -\r\n\r\n", "closed the connection"),
    (b"220 smtp.example ESMTP\r\n", "is not valid HTTP (BadStatusLine)"),
    (b"HTTP/1.1 20 OK\r\n\r\n", "is not valid HTTP"),
    (b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n", "is not valid HTTP"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "is not valid HTTP"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "is not valid HTTP"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "valid HTTP"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", "is larger than allowed"),
    (b"HTTP/1.1 200 " + b"x" * 20_000 + b"\r\n\r\n", "is larger than allowed"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "is not valid HTTP"),
)


async def test_after_a_broken_answer_the_event_may_have_arrived(any_route: Bench) -> None:
    for data, sentence in BROKEN:
        outcome = await any_route.call(raw(data, then_close=True))
        assert isinstance(outcome, Failed), data
        assert (outcome.may_have_arrived, outcome.timed_out) == (True, False), data
        assert sentence in outcome.error


async def test_after_a_reset_the_event_may_have_arrived(any_route: Bench) -> None:
    outcome = await any_route.call(reset)
    assert isinstance(outcome, Failed)
    assert outcome.may_have_arrived


@pytest.mark.parametrize("endless_head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX: ", b""])
async def test_an_endless_head_is_cut_off(straight: Bench, endless_head: bytes) -> None:
    receiver = await straight.receiver(
        endless(endless_head, b"A: b\r\n" * 50 if endless_head[-1:] == b"\n" else b"x" * 500)
    )
    outcome = await straight.callback(await straight.subscription(receiver), event(), 1)
    assert isinstance(outcome, Failed)
    assert outcome.may_have_arrived
    await receiver.until(lambda it: it.open_connections == 0)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Delivered(200)),
        (b"HTTP/1.1 400 -\r\nContent-Length: 99999999999\r\n\r\n", Rejected(400, b"x" * 1024)),
    ],
)
async def test_an_endless_body_is_cut_off_and_its_status_counts(
    any_route: Bench, head: bytes, expected: Outcome
) -> None:
    receiver = await any_route.receiver(endless(head, b"x" * 4096))
    assert await any_route.callback(await any_route.subscription(receiver), event(), 1) == expected
    await receiver.until(lambda it: it.open_connections == 0)


@pytest.mark.parametrize("any_route", ["straight", "tls", "tunnel", "socks", "socks-tls"], indirect=True)
async def test_an_early_answer_counts_and_ends_the_connection(any_route: Bench) -> None:
    receiver = await any_route.receiver(
        stalled(b"HTTP/1.1 413 -\r\nContent-Length: 7\r\n\r\ntoo big"), reads_body=False
    )
    subscription = await any_route.subscription(receiver)
    big = event(value=b"x" * 20_000_000)
    assert await any_route.callback(subscription, big, 1) == Rejected(413, b"too big")
    await receiver.until(lambda it: it.open_connections == 0)


# Connections


# The proxy of these tests forwards the first request of a connection only.
@pytest.mark.parametrize("any_route", ["straight", "tls", "tunnel", "socks", "socks-tls"], indirect=True)
async def test_a_connection_is_used_for_the_next_request(any_route: Bench) -> None:
    receiver = await any_route.receiver(answer(200, b"ok"), answer(500, b"x" * 5000), answer(204))
    subscription = await any_route.subscription(receiver)
    for expected in (Delivered(200), ServerError(500, b"x" * 1024), Delivered(204)):
        assert await any_route.callback(subscription, event(), 1) == expected
    assert receiver.connections == 1


async def test_each_request_on_a_connection_has_its_own_time_limit(straight: Bench) -> None:
    async def late(exchange: Exchange) -> None:
        await asyncio.sleep(3 * HASTY.read_timeout_seconds)
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    receiver = await straight.receiver(answer(200), late, silent)
    hasty = await straight.subscription(receiver, HASTY)
    patient = await straight.subscription(receiver, replace(LIMITS, read_timeout_seconds=1e6))
    assert await straight.callback(hasty, event(), 1) == Delivered(200)
    assert await straight.callback(patient, event(), 1) == Delivered(200)
    async with asyncio.timeout(20):
        outcome = await straight.callback(hasty, event(), 1)
    assert isinstance(outcome, Failed)
    assert outcome.timed_out
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_is_to_be_closed_is_not_used_again(straight: Bench, head: bytes) -> None:
    receiver = await straight.receiver(raw(head))
    subscription = await straight.subscription(receiver)
    for _ in range(2):
        assert await straight.callback(subscription, event(), 1) == Delivered(200)
    assert receiver.connections == 2


@pytest.mark.parametrize("any_route", ["tls", "tunnel", "socks-tls"], indirect=True)
async def test_closing_a_connection_does_not_wait_for_the_receiver(any_route: Bench) -> None:
    async def stay(exchange: Exchange) -> None:
        exchange.writer.transport.pause_reading()  # type: ignore[attr-defined]  # typeshed lacks it
        await exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await asyncio.Event().wait()

    receiver = await any_route.receiver(held(stay))
    call = asyncio.ensure_future(any_route.callback(await any_route.subscription(receiver), event(), 1))
    await receiver.until(lambda it: len(it.requests) == 1)
    [wire] = any_route.transport._in_use
    is_closed = wire.closed
    receiver.release()
    assert await call == Delivered(200)
    assert is_closed is not None
    await asyncio.wait_for(is_closed, 5)


@pytest.mark.parametrize(
    "stray", [b"H", b"HTTP/1.1 500 -\r\nContent-Length: 0\r\n\r\n", b"\r\n", b"\0garbage", b"HTTP/1.1 200 OK\r\nX: "]
)
async def test_an_idle_connection_that_receives_bytes_is_closed(straight: Bench, stray: bytes) -> None:
    receiver = await straight.receiver(answer(200), answer(201))
    subscription = await straight.subscription(receiver)
    assert await straight.callback(subscription, event(), 1) == Delivered(200)
    await receiver.speak_unasked(stray)
    await receiver.until(lambda it: it.open_connections == 0)
    assert await straight.callback(subscription, event(), 1) == Delivered(201)
    assert receiver.connections == 2


async def test_a_second_answer_is_not_read_as_that_of_the_next_request(straight: Bench) -> None:
    one = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    receiver = await straight.receiver(raw(one + one.replace(b"200", b"500")), answer(201))
    subscription = await straight.subscription(receiver)
    assert await straight.callback(subscription, event(), 1) == Delivered(200)
    assert await straight.callback(subscription, event(), 1) == Delivered(201)
    assert receiver.connections == 2


@pytest.mark.parametrize("stray", [b"HTTP/1.1 500 -\r\nContent-Length: 9\r\nX: ", b"HTTP/1.1 5", b"\r\n"])
@pytest.mark.parametrize(
    "first",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 -\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 103 -\r\nLink: a\r\n\r\n" + OK,
    ],
)
async def test_bytes_after_an_answer_are_not_part_of_the_next_answer(
    straight: Bench, first: bytes, stray: bytes
) -> None:
    receiver = await straight.receiver(raw(first + stray), answer(201), answer(202))
    subscription = await straight.subscription(receiver)
    outcome = await straight.callback(subscription, event(), 1)
    assert isinstance(outcome, Delivered)
    assert await straight.callback(subscription, event(), 1) == Delivered(201)
    assert await straight.callback(subscription, event(), 1) == Delivered(202)


async def test_bytes_after_an_answer_do_not_begin_the_next(straight: Bench) -> None:
    receiver = await straight.receiver(raw(OK + b"HTTP/1.1 5"), hang_up)
    subscription = replace(await straight.subscription(receiver), qos=Qos.AT_MOST_ONCE)
    assert await straight.callback(subscription, event(), 1) == Delivered(200)
    outcome = await straight.callback(subscription, event(), 1)
    where = f"127.0.0.1:{receiver.port}"
    assert outcome == Failed(f"{where} closed the connection without an answer", may_have_arrived=True)


async def test_bytes_after_a_plain_success_end_the_connection(straight: Bench) -> None:
    receiver = await straight.receiver(answer(200))
    assert await straight.callback(await straight.subscription(receiver), event(), 1) == Delivered(200)
    (wire,) = straight.transport._idle
    straight.transport._idle.discard(wire)
    wire.begin(b"", 5.0, status_suffices=True)
    wire.write()
    for piece, should_close in ((b"HTTP/1.1 200 -\r\nContent-Length: 0\r\n\r\n", False), (b"HTTP/1.1 5", True)):
        wire.data_received(piece)
        wire._buffer.clear()
        assert wire.should_close == should_close
    wire.abort()


@pytest.mark.parametrize(("keep", "body"), [(0, b""), (9, b"token")])
async def test_a_success_is_read_whole_if_more_than_its_status_counts(straight: Bench, keep: int, body: bytes) -> None:
    """A handshake needs the headers, and a token request the body, perhaps from the same server as a delivery."""
    receiver = await straight.receiver(answer(200), answer(200), answer(200, b"token", [("X-A", "b")]))
    subscription = await straight.subscription(receiver)
    for _ in range(2):
        assert await straight.callback(subscription, event(), 1) == Delivered(200)
    destination = await straight.transport.destination(
        receiver.url, tls=subscription.tls, proxy=None, use_system_proxy=False, limits=LIMITS
    )
    request = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    found = await straight.transport.exchange(destination, request, keep=9, keep_of_success=keep, repeatable=True)
    assert isinstance(found, Answer)
    assert (found.status, found.headers.get("X-A"), found.body) == (200, "b", body)
    assert receiver.connections == 1


async def test_answers_on_a_reused_connection_have_the_same_limits(straight: Bench) -> None:
    receiver = await straight.receiver(
        answer(500, b"body"), endless(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 500 + b"\r\n")
    )
    subscription = await straight.subscription(receiver)
    assert await straight.callback(subscription, event(), 1) == ServerError(500, b"body")
    outcome = await straight.callback(subscription, event(), 1)
    assert isinstance(outcome, Failed)
    assert outcome.error.endswith("is larger than allowed")
    assert [request.connection for request in receiver.requests] == [1, 1]


async def test_an_idle_connection_closed_by_the_receiver_is_replaced(any_route: Bench) -> None:
    receiver = await any_route.receiver(answer(200), answer(201))
    subscription = await any_route.subscription(receiver)
    assert await any_route.callback(subscription, event(), 1) == Delivered(200)
    await receiver.hang_up_all()
    await receiver.until(lambda it: it.open_connections == 0)
    async with asyncio.timeout(5):
        while len(any_route.transport._idle):  # noqa: ASYNC110 - there is no event for the end of a connection
            await asyncio.sleep(0)
    assert await any_route.callback(subscription, event(), 1) == Delivered(201)


async def test_one_attempt_skips_all_idle_connections_that_were_closed(any_route: Bench) -> None:
    receiver = await any_route.receiver(held(answer(200)))
    subscription = await any_route.subscription(receiver)
    calls = [asyncio.ensure_future(any_route.callback(subscription, event(), 1)) for _ in range(4)]
    await receiver.until(lambda it: len(it.requests) == 4)
    receiver.release()
    assert await asyncio.gather(*calls) == [Delivered(200)] * 4
    for wire in list(any_route.transport._idle._parked):
        assert wire.transport is not None
        wire.transport.close()  # the connection is closing, and the client is not notified yet
    assert await any_route.callback(subscription, event(), 1) == Delivered(200)
    assert (receiver.connections, len(receiver.requests)) == (5, 5)


@pytest.mark.parametrize("has_reset", [False, True])
@pytest.mark.parametrize("qos", [Qos.AT_MOST_ONCE, Qos.AT_LEAST_ONCE])
async def test_a_connection_closed_unnoticed_is_replaced_at_once(straight: Bench, qos: Qos, *, has_reset: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        subscription = Subscription("s", 1, f"http://127.0.0.1:{server.getsockname()[1]}/", qos, http=LIMITS)
        server.settimeout(5)  # a thread that waits forever would block the end of the test
        first = asyncio.ensure_future(straight.callback(subscription, event(), 1))
        accepted, _ = await asyncio.to_thread(server.accept)
        with accepted:
            assert await asyncio.to_thread(accepted.recv, 65_536)
            accepted.sendall(OK)
            assert await first == Delivered(200)
            if has_reset:
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The event loop has not run since then, so the client is not notified yet.
        second = asyncio.ensure_future(straight.callback(subscription, event(), 1))
        again, _ = await asyncio.to_thread(server.accept)
        with again:
            assert await asyncio.to_thread(again.recv, 65_536)
            again.sendall(OK)
            assert await second == Delivered(200)


ENDS = (hang_up, reset)
"""How a receiver may end a connection after it has read a request."""


async def test_a_request_on_a_closed_connection_is_sent_once_more(any_route: Bench) -> None:
    for end, qos in product(ENDS, (Qos.NONE, Qos.AUTO, Qos.AT_LEAST_ONCE)):
        receiver = await any_route.receiver(answer(200), end, answer(201))
        subscription = replace(await any_route.subscription(receiver), qos=qos)
        assert await any_route.callback(subscription, event(), 1) == Delivered(200)
        assert await any_route.callback(subscription, event(7), 3) == Delivered(201)
        assert [request.all("webhook-id") for request in receiver.requests[1:]] == [["events-0-7"]] * 2
        assert [request.all("webhook-attempt") for request in receiver.requests[1:]] == [["3"]] * 2
        assert [request.connection for request in receiver.requests] == [1, 1, 2]


async def test_a_request_on_a_new_connection_is_not_sent_twice(any_route: Bench) -> None:
    for end in ENDS:
        receiver = await any_route.receiver(answer(200), end, end, answer(200))
        subscription = replace(await any_route.subscription(receiver), qos=Qos.AT_LEAST_ONCE)
        assert await any_route.callback(subscription, event(), 1) == Delivered(200)
        outcome = await any_route.callback(subscription, event(), 1)
        assert isinstance(outcome, Failed)
        assert outcome.may_have_arrived
        assert len(receiver.requests) == 3


async def test_a_repeated_request_uses_a_new_connection(straight: Bench) -> None:
    receiver = await straight.receiver(held(answer(200)))
    subscription = await straight.subscription(receiver)
    calls = [asyncio.ensure_future(straight.callback(subscription, event(), 1)) for _ in range(4)]
    await receiver.until(lambda it: len(it.requests) == 4)
    receiver.release()
    assert await asyncio.gather(*calls) == [Delivered(200)] * 4
    receiver.script = [hang_up, answer(201)]
    assert await straight.callback(subscription, event(), 1) == Delivered(201)
    assert receiver.requests[-1].connection == 5
    await receiver.until(lambda it: it.open_connections == 1)


async def test_a_repeated_request_that_fails_may_have_arrived(straight: Bench) -> None:
    receiver = await straight.receiver(answer(200), hang_up)
    subscription = await straight.subscription(receiver)
    assert await straight.callback(subscription, event(), 1) == Delivered(200)
    assert receiver._server is not None
    receiver._server.close()  # the kept connection stays open
    outcome = await straight.callback(subscription, event(), 1)
    assert outcome == Failed(f"connection refused by 127.0.0.1:{receiver.port}", may_have_arrived=True)
    assert len(receiver.requests) == 2


async def test_a_request_is_not_repeated_without_a_valid_lease(straight: Bench) -> None:
    receiver = await straight.receiver(answer(200), hang_up, answer(200))
    subscription = await straight.subscription(receiver)
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == 3:
            raise LeaseEndedError

    straight.callback._check = check
    assert await straight.callback(subscription, event(), 1) == Delivered(200)
    with pytest.raises(LeaseEndedError):
        await straight.callback(subscription, event(), 1)
    assert len(receiver.requests) == 2


async def test_at_most_once_repeats_no_request_on_a_closed_connection(any_route: Bench) -> None:
    for end in ENDS:
        receiver = await any_route.receiver(answer(200), end, answer(200))
        subscription = replace(await any_route.subscription(receiver), qos=Qos.AT_MOST_ONCE)
        assert await any_route.callback(subscription, event(), 1) == Delivered(200)
        outcome = await any_route.callback(subscription, event(), 1)
        assert isinstance(outcome, Failed)
        assert (outcome.may_have_arrived, outcome.timed_out) == (True, False)
        assert len(receiver.requests) == 2
        assert await any_route.callback(subscription, event(), 1) == Delivered(200)
        assert receiver.connections == 2


async def test_a_request_on_a_new_connection_is_not_repeated(any_route: Bench) -> None:
    for end in ENDS:
        receiver = await any_route.receiver(end, answer(200))
        outcome = await any_route.callback(await any_route.subscription(receiver), event(), 1)
        assert isinstance(outcome, Failed)
        assert len(receiver.requests) == 1


async def test_no_request_is_repeated_after_a_partial_or_no_answer(straight: Bench) -> None:
    receiver = await straight.receiver(answer(200), raw(b"HTTP", then_close=True), answer(200), silent)
    subscription = await straight.subscription(receiver, HASTY)
    for expected in (None, "middle", None, "within"):
        outcome = await straight.callback(subscription, event(), 1)
        if expected is None:
            assert outcome == Delivered(200)
        else:
            assert isinstance(outcome, Failed)
    assert len(receiver.requests) == 4


async def test_a_request_cut_off_by_the_worker_is_not_sent_twice(any_route: Bench) -> None:
    receiver = await any_route.receiver(answer(200), silent)
    subscription = await any_route.subscription(receiver)
    assert await any_route.callback(subscription, event(), 1) == Delivered(200)
    call = asyncio.ensure_future(any_route.callback(subscription, event(), 1))
    await receiver.until(lambda it: len(it.requests) == 2)
    await any_route.transport.close()
    outcome = await asyncio.wait_for(call, 5)
    assert isinstance(outcome, Failed)
    assert outcome.may_have_arrived
    assert len(receiver.requests) == 2


async def test_an_unused_connection_is_closed_after_the_idle_timeout() -> None:
    async with AsyncExitStack() as stack:
        it = await bench("straight", stack, idle_timeout_seconds=0.05)
        receiver = await it.receiver()
        assert await it.callback(await it.subscription(receiver), event(), 1) == Delivered(200)
        await receiver.until(lambda it: it.open_connections == 0)


async def test_an_idle_timeout_closes_only_its_own_connections(any_route: Bench) -> None:
    receiver = await any_route.receiver()
    patient = await any_route.subscription(receiver)
    hasty = replace(patient, id="sub-2", http=replace(LIMITS, idle_timeout_seconds=0.05))
    for subscription in (patient, hasty):
        assert await any_route.callback(subscription, event(), 1) == Delivered(200)
    await receiver.until(lambda it: it.open_connections == 1)
    assert await any_route.callback(patient, event(), 1) == Delivered(200)
    assert [request.connection for request in receiver.requests] == [1, 2, 1]


async def test_the_idle_time_begins_again_after_each_use(straight: Bench) -> None:
    receiver = await straight.receiver(answer(200), held(answer(200)))
    subscription = await straight.subscription(receiver, replace(LIMITS, idle_timeout_seconds=0.05))
    assert await straight.callback(subscription, event(), 1) == Delivered(200)
    [wire] = straight.transport._idle._parked
    timer = wire._deadline_timer
    call = asyncio.ensure_future(straight.callback(subscription, event(), 1))
    await receiver.until(lambda it: len(it.requests) == 2)
    async with asyncio.timeout(5):
        while wire._deadline_timer is timer:  # noqa: ASYNC110 - there is no event for an expired timer
            await asyncio.sleep(0.01)
    receiver.release()
    assert await call == Delivered(200)
    await receiver.until(lambda it: it.open_connections == 0)


async def test_a_closed_connection_leaves_no_timer(straight: Bench) -> None:
    receiver = await straight.receiver()
    assert await straight.callback(await straight.subscription(receiver), event(), 1) == Delivered(200)
    [wire] = straight.transport._idle._parked
    await receiver.hang_up_all()
    async with asyncio.timeout(5):
        while len(straight.transport._idle):  # noqa: ASYNC110 - there is no event for the end of a connection
            await asyncio.sleep(0)
    assert wire._deadline_timer is not None
    assert wire._deadline_timer.cancelled()


async def test_at_most_once_uses_no_connection_that_was_idle_for_long(straight: Bench) -> None:
    receiver = await straight.receiver()
    subscription = replace(await straight.subscription(receiver), qos=Qos.AT_MOST_ONCE)
    assert await straight.callback(subscription, event(), 1) == Delivered(200)
    [wire] = straight.transport._idle._parked
    assert wire._deadline <= asyncio.get_running_loop().time() + AT_MOST_ONCE_IDLE_SECONDS
    assert await straight.callback(subscription, event(), 1) == Delivered(200)
    wire._deadline -= AT_MOST_ONCE_IDLE_SECONDS  # the deadline has passed, and the loop was too busy for its timer
    assert await straight.callback(subscription, event(), 1) == Delivered(200)
    assert [request.connection for request in receiver.requests] == [1, 1, 2]


async def test_the_oldest_idle_connection_is_closed_beyond_the_limit() -> None:
    async with AsyncExitStack() as stack:
        it = await bench("straight", stack, limit=2)
        receivers = [await it.receiver() for _ in range(3)]
        for number, receiver in enumerate(receivers):
            subscription = replace(await it.subscription(receiver), id=f"sub-{number}")
            assert await it.callback(subscription, event(), 1) == Delivered(200)
        await receivers[0].until(lambda it: it.open_connections == 0)
        assert [receiver.open_connections for receiver in receivers] == [0, 1, 1]


async def test_no_more_connections_than_allowed_are_in_use() -> None:
    async with AsyncExitStack() as stack:
        it = await bench("straight", stack, limit=3)
        receiver = await it.receiver(held(answer(200)))
        subscription = await it.subscription(receiver)
        calls = [asyncio.ensure_future(it.callback(subscription, event(), 1)) for _ in range(8)]
        await receiver.until(lambda it: len(it.requests) == 3)
        receiver.release()
        assert await asyncio.gather(*calls) == [Delivered(200)] * 8
        assert receiver.connections == 3


async def test_a_failed_connection_does_not_count_towards_the_limit() -> None:
    async with AsyncExitStack() as stack:
        it = await bench("straight", stack, limit=1)
        gone, there = await it.receiver(), await it.receiver()
        refused, subscription = await it.subscription(gone), await it.subscription(there)
        await gone.stop()
        for _ in range(2):
            assert isinstance(await it.callback(refused, event(), 1), Failed)
        assert await it.callback(replace(subscription, id="sub-2"), event(), 1) == Delivered(200)


async def test_without_a_free_connection_nothing_is_sent() -> None:
    async with AsyncExitStack() as stack:
        it = await bench("straight", stack, limit=1)
        receiver = await it.receiver(held(answer(200)))
        subscription = await it.subscription(receiver, replace(LIMITS, connect_timeout_seconds=0.1))
        first = asyncio.ensure_future(it.callback(subscription, event(), 1))
        await receiver.until(lambda it: len(it.requests) == 1)
        outcome = await it.callback(subscription, event(), 1)
        where = f"127.0.0.1:{receiver.port}"
        assert outcome == Failed(f"no connection to {where} within 0.1 s", may_have_arrived=False, timed_out=True)
        receiver.release()
        assert await first == Delivered(200)
        assert await it.callback(subscription, event(), 1) == Delivered(200)


async def test_waiting_for_a_connection_ends_with_the_connect_timeout(
    straight: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def without_a_limit_of_its_own(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(straight.transport._straight, "open", without_a_limit_of_its_own)
    straight.transport._free = asyncio.Semaphore(0)
    receiver = await straight.receiver()
    subscription = await straight.subscription(receiver, replace(LIMITS, connect_timeout_seconds=0.1))
    call = asyncio.ensure_future(straight.callback(subscription, event(), 1))
    async with asyncio.timeout(5):
        while not straight.transport._free._waiters:  # noqa: ASYNC110 - there is no event for this
            await asyncio.sleep(0)
    straight.transport._free.release()
    where = f"127.0.0.1:{receiver.port}"
    expected = Failed(f"no connection to {where} within 0.1 s", may_have_arrived=False, timed_out=True)
    assert await asyncio.wait_for(call, 5) == expected


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\n\r\nhalf", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]
)
async def test_a_cancelled_attempt_leaves_no_connection_behind(any_route: Bench, start: bytes) -> None:
    receiver = await any_route.receiver(stalled(start))
    call = asyncio.ensure_future(any_route.callback(await any_route.subscription(receiver), event(), 1))
    await receiver.until(lambda it: len(it.requests) == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await receiver.until(lambda it: it.open_connections == 0)


async def test_unsent_data_of_a_cancelled_attempt_is_dropped(any_route: Bench) -> None:
    received = 0

    async def read_late(exchange: Exchange) -> None:
        nonlocal received
        await exchange.released.wait()
        with contextlib.suppress(OSError):
            while data := await exchange.reader.read(65_536):
                received += len(data)

    receiver = await any_route.receiver(read_late, reads_body=False)
    big = event(value=b"x" * 40_000_000)
    call = asyncio.ensure_future(any_route.callback(await any_route.subscription(receiver), big, 1))
    await receiver.until(lambda it: len(it.requests) == 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    receiver.release()
    await receiver.until(lambda it: it.open_connections == 0)
    assert received < 40_000_000


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"])
async def test_closing_the_transport_ends_the_attempts_under_way(straight: Bench, start: bytes) -> None:
    receiver = await straight.receiver(stalled(start))
    call = asyncio.ensure_future(straight.callback(await straight.subscription(receiver), event(), 1))
    await receiver.until(lambda it: len(it.requests) == 1)
    [wire] = straight.transport._in_use
    async with asyncio.timeout(5):
        # Wait until the client waits for the rest of the body; there is no event for this.
        while start and (wire._payload is None or wire._payload._waiter is None):  # noqa: ASYNC110
            await asyncio.sleep(0)
    await straight.transport.close()
    outcome = await asyncio.wait_for(call, 2)
    assert isinstance(outcome, Failed)
    assert outcome.may_have_arrived


async def test_a_closed_transport_makes_no_connection(straight: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        where = f"127.0.0.1:{server.getsockname()[1]}"
        await straight.transport.close()
        outcome = await straight.callback(Subscription("s", 1, f"http://{where}/", http=LIMITS), event(), 1)
        assert outcome == Failed(f"no connection to {where}: ClientConnectionError", may_have_arrived=False)
        with pytest.raises(BlockingIOError):
            server.accept()


async def test_the_system_s_proxy_is_used_only_if_requested() -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(ForwardProxy(PROXY_CREDENTIALS))
        named = proxy.url.replace("http://", "http://user:proxy-secret@")
        it = await bench("straight", stack, system=SystemProxies({"http": named}))
        receiver = await it.receiver()
        subscription = await it.subscription(receiver)
        assert await it.callback(subscription, event(), 1) == Delivered(200)
        assert proxy.requests == []
        assert await it.callback(replace(subscription, use_system_proxy=True), event(), 1) == Delivered(200)
        assert [request.line for request in proxy.requests] == [f"POST {receiver.url} HTTP/1.1"]
        assert len(receiver.requests) == 2


async def test_an_ipv6_address_is_called_and_shown_in_brackets(straight: Bench) -> None:
    async with Receiver(hang_up, host="::1") as receiver:
        subscription = Subscription("sub-1", 1, receiver.url, http=LIMITS)
        outcome = await straight.callback(subscription, event(), 1)
        where = f"[::1]:{receiver.port}"
        assert outcome == Failed(f"{where} closed the connection without an answer", may_have_arrived=True)
        assert receiver.requests[0].header("host") == where


async def test_credentials_in_the_url_are_sent_as_basic_and_not_shown(straight: Bench) -> None:
    receiver = await straight.receiver(hang_up)
    url = receiver.url.replace("//", "//user:secret@") + "?key=secret#secret"
    outcome = await straight.callback(Subscription("sub-1", 1, url, http=LIMITS), event(), 1)
    assert isinstance(outcome, Failed)
    assert "secret" not in outcome.error
    [request] = receiver.requests
    assert request.line == "POST /hook?key=secret HTTP/1.1"
    assert request.all("authorization") == ["Basic dXNlcjpzZWNyZXQ="]


async def test_a_header_replaces_the_credentials_in_the_url(straight: Bench) -> None:
    receiver = await straight.receiver(answer(200))
    url, headers = receiver.url.replace("//", "//user:secret@"), (Header("AUTHORIZATION", "Key a"),)
    outcome = await straight.callback(Subscription("sub-1", 1, url, headers=headers, http=LIMITS), event(), 1)
    assert outcome == Delivered(200)
    assert receiver.requests[0].all("authorization") == ["Key a"]


WRITTEN = [
    "/a%27b%2Fc/%28d%29?x=%2F%27%28&y=a+b",
    "/b/../c",
    "/b/./%2e%2e/c",
    "//a//b",
    "/%c3%a9/~a%7Eb?%c3",
    "/;a=1,2:3@4!$&'()*+?/?b[]=1",
    "/p?",
    "/p?a=b&&c==",
]
ENCODED = {
    "": "/",
    "?x": "/?x",
    "?": "/?",
    "/p#part?x": "/p",
    "/é?é=ü": "/%C3%A9?%C3%A9=%C3%BC",
    "/a b?c d": "/a%20b?c%20d",
    '/"<>\\^`{|}': "/%22%3C%3E%5C%5E%60%7B%7C%7D",
    "/100%?50%&%zz": "/100%25?50%25&%25zz",
    "/\x7f": "/%7F",
}


async def test_the_url_is_sent_as_it_is_written(any_route: Bench) -> None:
    receiver = await any_route.receiver()
    wanted = {**dict(zip(WRITTEN, WRITTEN, strict=True)), **ENCODED}
    for revision, path in enumerate(wanted):
        url = receiver.url.removesuffix("/hook") + path
        subscription = replace(await any_route.subscription(receiver), revision=revision, url=url)
        assert await any_route.callback(subscription, event(), 1) == Delivered(200), path
    lines = [request.line.removeprefix("POST ") for request in receiver.requests]
    assert dict(zip(wanted, lines, strict=True)) == {path: f"{sent} HTTP/1.1" for path, sent in wanted.items()}


async def test_a_url_that_can_t_be_encoded_is_reported_as_an_outcome(straight: Bench) -> None:
    outcome = await straight.callback(Subscription("s", 1, "http://127.0.0.1:1/\ud800", http=LIMITS), event(), 1)
    assert outcome == Failed("the URL can't be read", may_have_arrived=False)


async def test_an_edited_subscription_is_sent_to_its_new_url(straight: Bench) -> None:
    first, second = await straight.receiver(answer(201)), await straight.receiver(answer(202))
    subscription = await straight.subscription(first)
    assert await straight.callback(subscription, event(), 1) == Delivered(201)
    assert await straight.callback(replace(subscription, revision=2, url=second.url), event(), 1) == Delivered(202)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/",
        "http://",
        "/hook",
        "",
        "http://[::1/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "http://a:b:c/",
        "http://user:se:cret@127.0.0.1:1/",
        "http://2130706433:1/",
        "http://127.1:1/",
        "http://" + "a" * 300 + ":1/",
        "http://a..b:1/",
        "http://name.invalid:1/?token=se:cret",
    ],
)
async def test_an_unusable_url_is_reported_without_secrets(straight: Bench, url: str) -> None:
    outcome = await straight.callback(Subscription("sub-1", 1, url, http=LIMITS), event(), 1)
    assert isinstance(outcome, Failed)
    assert not outcome.may_have_arrived
    assert "cret" not in outcome.error


async def test_a_token_with_invalid_characters_is_not_sent(straight: Bench) -> None:
    receiver = await straight.receiver()
    outcome = await straight.callback(await straight.subscription(receiver), event(), 1, "Bearer a\r\nX: secret")
    assert outcome == Failed("the access token is not a valid header value", may_have_arrived=False)
    assert receiver.requests == []


async def test_nothing_secret_is_logged(straight: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await straight.call(reset)
    await straight.call(raw(b"not http secret\r\n\r\n"))
    assert "secret" not in caplog.text
