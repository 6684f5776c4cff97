"""Requests of one turn of the event loop are written together. A request that is no longer allowed is not written."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import pytest

from pipeline.core.clock import SystemClock
from pipeline.core.errors import LeaseEndedError
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered, Failed, Outcome
from pipeline.core.subscription import Qos, Subscription
from pipeline.http.connection import Wire
from pipeline.http.transport import Transport
from pipeline.http.webhook import Callback
from tests.support.calling import loopback_transport
from tests.support.receiver import Behaviour, Receiver, answer, hang_up

EVENT: Final = PlainEvent("events", 0, 1, b"s", b"body")


def callback_with(transport: Transport, check: Callable[[], None] | None = None) -> Callback:
    return Callback(transport, SystemClock(), user_agent="test/1", on_header_left_out=print, check=check)


async def called_once(callback: Callback, subscription: Subscription, count: int = 1) -> None:
    """Make *count* concurrent calls, which leave as many idle connections."""
    first = await asyncio.gather(*(callback(subscription, EVENT, 1) for _ in range(count)))
    assert first == [Delivered(200)] * count


@dataclass(frozen=True)
class Kept:
    """A receiver that was called once, and the idle connection to it."""

    callback: Callback
    subscription: Subscription
    receiver: Receiver
    wire: Wire

    def call(self) -> "asyncio.Task[Outcome]":
        """Begin the second call."""
        return asyncio.ensure_future(self.callback(self.subscription, EVENT, 2))


@asynccontextmanager
async def kept(*script: Behaviour, check: Callable[[], None] | None = None) -> AsyncIterator[Kept]:
    async with loopback_transport(10) as transport, Receiver(*script) as receiver:
        callback = callback_with(transport, check)
        subscription = Subscription("s", 1, receiver.url)
        await called_once(callback, subscription)
        (wire,) = transport._idle
        yield Kept(callback, subscription, receiver, wire)


async def test_requests_of_one_turn_are_written_together_in_the_next() -> None:
    seen = list[str]()
    async with loopback_transport(10) as transport, Receiver() as receiver:
        callback = callback_with(transport, lambda: seen.append("written"))
        subscription = Subscription("s", 1, receiver.url)
        await called_once(callback, subscription, 3)
        seen.clear()

        async def send() -> None:
            seen.append("sent")
            assert await callback(subscription, EVENT, 2) == Delivered(200)

        await asyncio.gather(send(), send(), send())
        assert seen == ["sent"] * 3 + ["written"] * 3
        assert receiver.connections == 3


async def test_at_most_once_writes_right_after_its_check() -> None:
    """By the next turn of the event loop, the result of the check could be outdated."""
    seen = list[str]()
    async with loopback_transport(10) as transport, Receiver() as receiver:
        callback = callback_with(transport, lambda: seen.append("written"))
        subscription = Subscription("s", 1, receiver.url, Qos.AT_MOST_ONCE)
        await called_once(callback, subscription, 2)
        seen.clear()
        calls = [asyncio.ensure_future(callback(subscription, EVENT, 2)) for _ in range(2)]
        asyncio.get_running_loop().call_soon(seen.append, "end of the turn")
        assert await asyncio.gather(*calls) == [Delivered(200)] * 2
        assert seen == ["written", "written", "end of the turn"]
        assert receiver.connections == 2


async def test_a_cancelled_call_does_not_affect_the_others() -> None:
    async with loopback_transport(10) as transport, Receiver() as receiver:
        callback = callback_with(transport)
        subscription = Subscription("s", 1, receiver.url)
        await called_once(callback, subscription, 3)
        calls = [asyncio.ensure_future(callback(subscription, EVENT, number)) for number in (2, 3, 4)]
        asyncio.get_running_loop().call_soon(calls[0].cancel)
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in found] == [asyncio.CancelledError, Delivered, Delivered]
        arrived = [request.all("webhook-attempt") for request in receiver.requests]
        assert arrived.count(["3"]) == arrived.count(["4"]) == 1


async def test_a_request_on_a_connection_closed_here_is_not_written() -> None:
    async with kept() as found:
        receiver, wire = found.receiver, found.wire
        call = found.call()
        asyncio.get_running_loop().call_soon(wire.abort)
        assert await call == Delivered(200), "sent on a new connection"
        assert [request.all("webhook-attempt") for request in receiver.requests] == [["1"], ["2"]]
        assert [request.connection for request in receiver.requests] == [1, 2]


async def test_a_request_that_was_never_written_has_not_arrived() -> None:
    async with kept() as found:
        receiver, wire = found.receiver, found.wire
        assert receiver._server is not None
        receiver._server.close()  # the kept connection stays open
        call = found.call()
        asyncio.get_running_loop().call_soon(wire.abort)
        expected = Failed(f"connection refused by 127.0.0.1:{receiver.port}", may_have_arrived=False)
        assert await call == expected
        assert len(receiver.requests) == 1


async def test_a_request_written_by_the_second_try_may_have_arrived() -> None:
    async with kept(answer(200), hang_up) as found:
        receiver, wire = found.receiver, found.wire
        call = found.call()
        asyncio.get_running_loop().call_soon(wire.abort)
        where = f"127.0.0.1:{receiver.port}"
        assert await call == Failed(f"{where} closed the connection without an answer", may_have_arrived=True)
        assert len(receiver.requests) == 2


async def test_a_request_that_waits_past_its_deadline_is_not_written() -> None:
    # uvloop calls timers before it calls the burst, so this happens if the process was stopped in between.
    async with kept() as found:
        receiver, wire = found.receiver, found.wire
        call = found.call()
        asyncio.get_running_loop().call_soon(wire._expire)
        assert await call == Delivered(200), "sent on a new connection"
        assert [request.all("webhook-attempt") for request in receiver.requests] == [["1"], ["2"]]


async def test_an_unwritable_request_does_not_affect_the_others() -> None:
    class Exhausted(asyncio.Transport):
        def __init__(self, inner: asyncio.Transport) -> None:
            self.abort, self.is_closing = inner.abort, inner.is_closing  # type: ignore[method-assign]  # the real ones

        def write(self, data: object) -> None:  # noqa: ARG002 - the name of the interface
            raise MemoryError

    async with loopback_transport(10) as transport, Receiver() as receiver:
        callback = callback_with(transport)
        subscription = Subscription("s", 1, receiver.url)
        await called_once(callback, subscription, 3)
        wire = list(transport._idle)[-1]  # which the first call takes
        assert wire.transport is not None
        wire.transport = Exhausted(wire.transport)
        outcomes = await asyncio.gather(*(callback(subscription, EVENT, number) for number in (2, 3, 4)))
        where = f"127.0.0.1:{receiver.port}"
        failed = Failed(f"the exchange with {where} failed: MemoryError", may_have_arrived=True)
        assert outcomes == [failed, Delivered(200), Delivered(200)]
        assert sorted(request.all("webhook-attempt") for request in receiver.requests[3:]) == [["3"], ["4"]]
        await receiver.until(lambda it: it.open_connections == 2)


async def test_an_answer_before_its_request_is_written_does_not_count() -> None:
    async with kept(answer(200), answer(201)) as found:
        receiver, wire = found.receiver, found.wire
        call = found.call()
        stray = b"HTTP/1.1 299 -\r\nContent-Length: 0\r\n\r\n"
        asyncio.get_running_loop().call_soon(wire.data_received, stray)
        assert await call == Delivered(201), "sent on a new connection"
        assert [request.connection for request in receiver.requests] == [1, 2]


async def test_no_request_begins_if_the_lease_ends_during_its_wait() -> None:
    has_ended = False

    def check() -> None:
        if has_ended:
            raise LeaseEndedError

    def end() -> None:
        nonlocal has_ended
        has_ended = True

    async with kept(check=check) as found:
        call = found.call()
        asyncio.get_running_loop().call_soon(end)
        with pytest.raises(LeaseEndedError):
            await call
        assert len(found.receiver.requests) == 1
