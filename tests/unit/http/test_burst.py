"""Requests of one turn of the event loop are written together. A request that is no longer allowed is not written."""

import asyncio
from typing import Final

import pytest

from pipeline.core.clock import SystemClock
from pipeline.core.errors import LeaseEndedError
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered
from pipeline.core.subscription import Subscription
from pipeline.http.burst import Burst
from pipeline.http.webhook import Callback
from tests.support.calling import loopback_transport
from tests.support.receiver import Receiver

EVENT: Final = PlainEvent("events", 0, 1, b"s", b"body")


async def test_waiting_calls_continue_together_in_their_order() -> None:
    burst, seen = Burst(asyncio.get_running_loop()), list[str]()

    async def send(name: str) -> None:
        for _ in range(2):
            seen.append(f"{name} asks")
            await burst.begins()
            seen.append(f"{name} writes")

    await asyncio.gather(*map(send, "abc"))
    first, second = seen[:3], seen[3:]
    assert first == ["a asks", "b asks", "c asks"]
    assert second == [
        *(f"{name} {what}" for name in "abc" for what in ("writes", "asks")),
        *(f"{name} writes" for name in "abc"),
    ]


async def test_a_cancelled_call_does_not_affect_the_others() -> None:
    async with loopback_transport(10) as transport, Receiver() as receiver:
        callback = Callback(transport, SystemClock(), user_agent="test/1", on_header_left_out=print)
        subscription = Subscription("s", 1, receiver.url)
        assert await callback(subscription, EVENT, 1) == Delivered(200)
        calls = [asyncio.ensure_future(callback(subscription, EVENT, number)) for number in (2, 3, 4)]
        asyncio.get_running_loop().call_soon(calls[0].cancel)  # the cancelled call has got the idle connection
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in found] == [asyncio.CancelledError, Delivered, Delivered]
        assert sorted(request.all("webhook-attempt") for request in receiver.requests) == [["1"], ["3"], ["4"]]


async def test_no_request_begins_if_the_lease_ends_during_its_wait() -> None:
    has_ended = False

    def check() -> None:
        if has_ended:
            raise LeaseEndedError

    def end() -> None:
        nonlocal has_ended
        has_ended = True

    async with loopback_transport(10) as transport, Receiver() as receiver:
        callback = Callback(transport, SystemClock(), user_agent="test/1", on_header_left_out=print, check=check)
        subscription = Subscription("s", 1, receiver.url)
        assert await callback(subscription, EVENT, 1) == Delivered(200)
        call = asyncio.ensure_future(callback(subscription, EVENT, 2))
        asyncio.get_running_loop().call_soon(end)
        with pytest.raises(LeaseEndedError):
            await call
        assert len(receiver.requests) == 1
