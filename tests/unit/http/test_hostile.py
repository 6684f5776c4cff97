"""Misbehaving receivers: the outcome, the next delivery, and the memory."""

import asyncio
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import pytest

from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered, Failed, Outcome, Rejected, ServerError
from pipeline.core.subscription import HttpLimits, Subscription
from pipeline.http.transport import Transport
from pipeline.http.webhook import Callback
from tests.support.calling import loopback_transport
from tests.support.hostile import TRICKS, Fate, Trick
from tests.support.receiver import HOST, Receiver, answer

AT_ONCE: Final = 20
BYTES_PER_EXCHANGE: Final = 1024 * 1024
"""The most memory that reading an answer may take, whatever the receiver does; documented in docs/delivery.md."""

EVENT: Final = PlainEvent("events", 0, 1, b"s", b"body")


@asynccontextmanager
async def client() -> AsyncIterator[tuple[Callback, Transport]]:
    async with loopback_transport(AT_ONCE) as transport:
        yield (
            Callback(transport, SystemClock(), user_agent="test/1", on_header_left_out=lambda _id, _name: None),
            transport,
        )


def subscription(url: str, fate: Fate, name: str = "s") -> Subscription:
    """A subscription with a long timeout for tricks that answer, and a short timeout for tricks that do not."""
    return Subscription(
        name,
        1,
        url,
        http=HttpLimits(connect_timeout_seconds=20.0, read_timeout_seconds=0.3 if fate == "timed out" else 50.0),
    )


def fate_of(outcome: Outcome) -> Fate:
    match outcome:
        case Delivered():
            return "delivered"
        case Rejected():
            return "rejected"
        case ServerError():
            return "server error"
        case Failed():
            assert outcome.may_have_arrived
            return "timed out" if outcome.timed_out else "broken"
        case _:
            raise AssertionError(outcome)


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.name)
async def test_a_hostile_answer_does_not_affect_the_next_event(trick: Trick) -> None:
    async with AsyncExitStack() as stack:
        callback, transport = await stack.enter_async_context(client())
        receiver = await stack.enter_async_context(Receiver(trick.behaviour, answer(201)))
        called = subscription(receiver.url, trick.fate)
        assert fate_of(await callback(called, EVENT, 1)) == trick.fate
        again = await callback(called, EVENT, 2)
        assert again == Delivered(201), "nothing of the first answer is taken for the second"
        await receiver.until(lambda it: it.open_connections <= len(transport._idle))


async def test_hostile_answers_have_unique_names_and_descriptions() -> None:
    assert len({trick.name for trick in TRICKS}) == len({trick.about for trick in TRICKS}) == len(TRICKS)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The address of a process that serves all tricks."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.hostile"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://{HOST}:{int(process.stdout.readline())}"
            process.stdin.close()
            process.wait(10)
        finally:
            process.kill()


@pytest.mark.parametrize("trick", [trick for trick in TRICKS if trick.is_endless], ids=lambda trick: trick.name)
async def test_a_hostile_answer_takes_no_more_memory_than_allowed(elsewhere: str, trick: Trick) -> None:
    async with client() as (callback, _):
        assert await callback(subscription(elsewhere, "delivered"), EVENT, 1) == Delivered(200)
        for at_once in (1, AT_ONCE):
            called = [subscription(f"{elsewhere}/{trick.name}", trick.fate, f"s{number}") for number in range(at_once)]
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                outcomes = await asyncio.gather(*(callback(each, EVENT, 1) for each in called))
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert {fate_of(outcome) for outcome in outcomes} == {trick.fate}
            assert peak - before <= at_once * BYTES_PER_EXCHANGE
            assert await callback(subscription(elsewhere, "delivered"), EVENT, 1) == Delivered(200)
