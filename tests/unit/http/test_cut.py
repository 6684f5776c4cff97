"""Answers that end at every possible position, and connections that fail around an answer."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Final

import pytest

from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered, Failed, Outcome, Rejected
from pipeline.core.subscription import HttpLimits, Subscription
from pipeline.http.webhook import Callback
from tests.support.calling import loopback_transport
from tests.support.receiver import HOST, Behaviour, Exchange, Receiver, answer, in_pieces, raw, reset

EVENT: Final = PlainEvent("events", 0, 1, b"s", b"body")
BIG: Final = replace(EVENT, value=bytes(20_000_000))
HEAD: Final = b"HTTP/1.1 200 OK\r\n"
ANSWERS: Final = {
    "length": HEAD + b"Content-Length: 5\r\nX-A: b\r\n\r\nhello",
    "chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-A: b\r\n\r\n",
    "interim": b"HTTP/1.1 100 -\r\n\r\nHTTP/1.1 103 -\r\nLink: a\r\n\r\n" + HEAD + b"Content-Length: 0\r\n\r\n",
}


@asynccontextmanager
async def client() -> AsyncIterator[Callback]:
    async with loopback_transport(10) as transport:
        yield Callback(transport, SystemClock(), user_agent="test/1", on_header_left_out=lambda _id, _name: None)


def subscription(url: str, *, connect_timeout: float = 10.0, read_timeout: float = 10.0) -> Subscription:
    return Subscription("s", 1, url, http=HttpLimits(connect_timeout, read_timeout))


async def outcomes(*script: Behaviour) -> list[Outcome]:
    """The outcomes of an event for each behaviour of *script*, and of one more event that is answered with 201."""
    async with client() as callback, Receiver(*script, answer(201)) as receiver:
        called = subscription(receiver.url)
        found = [await callback(called, EVENT, 1) for _ in script]
        assert await callback(called, EVENT, 1) == Delivered(201)
        await receiver.until(lambda it: it.open_connections <= 1)
        return found


def cut_off(data: bytes, *, by_reset: bool) -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        await exchange.send(data)
        if by_reset:
            await reset(exchange)
        else:
            exchange.writer.close()

    return behave


@pytest.mark.parametrize("by_reset", [False, True])
@pytest.mark.parametrize("whole", ANSWERS.values(), ids=ANSWERS)
async def test_after_a_truncated_answer_the_event_may_have_arrived(whole: bytes, *, by_reset: bool) -> None:
    found = await outcomes(*(cut_off(whole[:end], by_reset=by_reset) for end in range(len(whole))))
    for outcome in found:
        assert isinstance(outcome, Failed)
        assert (outcome.may_have_arrived, outcome.timed_out) == (True, False)


@pytest.mark.parametrize("before", range(4))
async def test_a_body_is_cut_at_the_end_of_a_character(before: int) -> None:
    body = "a" * before + "\U0001f600" * 1000
    (outcome,) = await outcomes(answer(400, body.encode()))
    assert isinstance(outcome, Rejected)
    assert 1021 <= len(outcome.response) <= 1024
    assert body.startswith(outcome.response.decode())


async def test_a_received_body_that_ends_within_a_character_is_kept() -> None:
    assert await outcomes(answer(400, b"a\xf0\x9f")) == [Rejected(400, b"a\xf0\x9f")]


CHARSETS: Final = {
    "utf-16-with-bom": ("utf-16", "text/html"),
    "utf-16-announced": ("utf-16-be", "text/html; charset=UTF-16BE"),
    "utf-32": ("utf-32", "text/html"),
    "gb18030": ("gb18030", 'text/html; Charset="gb18030"'),
    "shift_jis": ("shift_jis", "text/html;charset=Shift_JIS"),
    "euc-kr": ("euc-kr", "text/html; charset = euc-kr"),
}


@pytest.mark.parametrize(("codec", "content_type"), CHARSETS.values(), ids=CHARSETS)
@pytest.mark.parametrize("before", range(4))
async def test_a_body_in_another_charset_is_cut_after_a_character(codec: str, content_type: str, before: int) -> None:
    body = "a" * before + ("\U0001f600" if codec in {"utf-16", "utf-32", "gb18030"} else "日") * 1000
    headers = [("Content-Type", content_type)]
    (outcome,) = await outcomes(answer(400, body.encode(codec), headers=headers))
    assert isinstance(outcome, Rejected)
    assert len(outcome.response) > 500
    assert body.startswith(outcome.response.decode().removeprefix("\ufeff"))


@pytest.mark.parametrize("charset", ["idna", "zlib", "unicode_escape", "no-such", "x" * 5_000, "", "utf-16" * 9])
async def test_a_body_in_an_unknown_charset_is_kept_as_it_is(charset: str) -> None:
    headers = [("Content-Type", f"text/plain; charset={charset}")]
    assert await outcomes(answer(400, b"\\x41 \xff", headers=headers)) == [Rejected(400, b"\\x41 \xff")]


@pytest.mark.parametrize("whole", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_may_be_split_anywhere_into_two_packets(whole: bytes) -> None:
    found = await outcomes(*(in_pieces(whole[:end], whole[end:]) for end in range(1, len(whole))))
    assert set(found) == {Delivered(200)}


# Around the answer


@contextmanager
def listening(backlog: int = 10) -> Iterator[tuple[socket.socket, str]]:
    """A port whose connections only the test accepts, if at all."""
    with socket.create_server((HOST, 0), backlog=backlog) as listener:
        listener.settimeout(0)
        yield listener, f"{HOST}:{listener.getsockname()[1]}"


@pytest.mark.parametrize("has_reset", [False, True])
async def test_after_a_close_before_reading_the_event_may_have_arrived(*, has_reset: bool) -> None:
    with listening() as (listener, where):
        async with client() as callback:
            call = asyncio.ensure_future(callback(subscription(f"http://{where}/"), EVENT, 1))
            accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
            if has_reset:
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            outcome = await call
    assert isinstance(outcome, Failed)
    # The reset may arrive together with the connection. Then nothing has been sent.
    was_seen = has_reset and outcome.error == f"no connection to {where}: Connection reset by peer"
    assert (outcome.may_have_arrived, outcome.timed_out) == (not was_seen, False)


@pytest.mark.parametrize("event", [EVENT, BIG], ids=["small", "big"])
async def test_on_an_unaccepted_connection_the_event_may_have_arrived(event: PlainEvent) -> None:
    with listening() as (_, where):
        async with client() as callback:
            outcome = await callback(subscription(f"http://{where}/", read_timeout=0.2), event, 1)
    assert outcome == Failed(f"no complete answer from {where} within 0.2 s", may_have_arrived=True, timed_out=True)


async def test_a_full_accept_backlog_proves_that_nothing_arrived() -> None:
    with listening(backlog=0) as (_, where):
        async with AsyncExitStack() as stack:
            callback = await stack.enter_async_context(client())
            while await _is_taken(stack, where):
                pass
            outcome = await callback(subscription(f"http://{where}/", connect_timeout=0.3), EVENT, 1)
    assert outcome == Failed(f"no connection to {where} within 0.3 s", may_have_arrived=False, timed_out=True)


async def _is_taken(stack: AsyncExitStack, where: str) -> bool:
    """Whether the backlog accepted another connection."""
    host, _, port = where.partition(":")
    taken = stack.enter_context(socket.socket())
    taken.settimeout(0)
    try:
        async with asyncio.timeout(0.3):
            await asyncio.get_running_loop().sock_connect(taken, (host, int(port)))
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x03\x00\x7a\x02"], ids=["nothing", "half-a-hello"])
async def test_a_hanging_tls_handshake_ends_with_the_connect_timeout(said: bytes) -> None:
    with listening() as (listener, where):
        async with client() as callback:
            called = subscription(f"https://{where}/", connect_timeout=0.3)
            call = asyncio.ensure_future(callback(called, EVENT, 1))
            accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
            with accepted:
                accepted.sendall(said)
                outcome = await call
    assert outcome == Failed(f"no connection to {where} within 0.3 s", may_have_arrived=False, timed_out=True)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 -\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28", bytes(100)])
async def test_a_failed_tls_handshake_proves_that_nothing_arrived(said: bytes) -> None:
    with listening() as (listener, where):
        async with client() as callback:
            call = asyncio.ensure_future(callback(subscription(f"https://{where}/"), EVENT, 1))
            accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
            with accepted:
                accepted.sendall(said)
            outcome = await call
    assert isinstance(outcome, Failed)
    assert (outcome.may_have_arrived, outcome.timed_out) == (False, False)
    assert where in outcome.error


# An answer before the request is complete


async def _refuse_and_linger(exchange: Exchange) -> None:
    """Answer, end this direction and continue to read, as careful servers do, so that no reset overtakes the answer."""
    await exchange.send(b"HTTP/1.1 413 -\r\nConnection: close\r\nContent-Length: 7\r\n\r\ntoo big")
    exchange.writer.write_eof()
    await exchange.gone()


async def test_an_answer_counts_before_the_whole_request_is_sent() -> None:
    async with client() as callback, Receiver(_refuse_and_linger, answer(201), reads_body=False) as receiver:
        called = subscription(receiver.url)
        assert await callback(called, BIG, 1) == Rejected(413, b"too big")
        await receiver.until(lambda it: it.open_connections == 0)
        assert await callback(called, replace(EVENT, value=b""), 1) == Delivered(201)


async def test_an_answer_followed_by_a_reset_counts_or_is_broken() -> None:
    refuse = raw(b"HTTP/1.1 413 -\r\nContent-Length: 7\r\n\r\ntoo big", then_close=True)
    async with client() as callback, Receiver(refuse, answer(201), reads_body=False) as receiver:
        called = subscription(receiver.url)
        outcome = await callback(called, BIG, 1)
        # The reset may discard data that the client's machine has already received.
        assert outcome == Rejected(413, b"too big") or (isinstance(outcome, Failed) and outcome.may_have_arrived)
        await receiver.until(lambda it: it.open_connections == 0)
        assert await callback(called, replace(EVENT, value=b""), 1) == Delivered(201)


async def test_a_request_read_too_slowly_times_out_and_is_cut_off() -> None:
    received = 0

    async def read_a_little(exchange: Exchange) -> None:
        nonlocal received
        with contextlib.suppress(OSError):
            received += len(await exchange.reader.read(65_536))
            await exchange.released.wait()
            while data := await exchange.reader.read(65_536):
                received += len(data)

    async with client() as callback, Receiver(read_a_little, reads_body=False) as receiver:
        outcome = await callback(subscription(receiver.url, read_timeout=0.3), BIG, 1)
        assert isinstance(outcome, Failed)
        assert (outcome.may_have_arrived, outcome.timed_out) == (True, True)
        receiver.release()
        await receiver.until(lambda it: it.open_connections == 0)
    assert received < len(BIG.value or b"")
