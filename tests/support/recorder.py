"""A receiver for end-to-end tests that answers as configured and records every call."""

import asyncio
import socket
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Call:
    """A request that arrived, which is recorded before the answer is sent."""

    subscription: str
    webhook_id: str
    attempt: int
    body: bytes
    headers: dict[str, str]

    @property
    def offset(self) -> int:
        """The offset of the event in the call."""
        return int(self.webhook_id.rpartition("-")[2])


Behaviour = Callable[[Call], Awaitable[web.Response]]


async def accept(_: Call) -> web.Response:
    """Answer 200 at once."""
    return web.Response()


def answer(status: int, headers: dict[str, str] | None = None) -> Behaviour:
    """Always answer with this status."""

    async def behave(_: Call) -> web.Response:
        return web.Response(status=status, headers=headers, text=f"status {status}")

    return behave


async def hang(_: Call) -> web.Response:
    """Accept the request and never answer it."""
    await asyncio.Event().wait()
    raise AssertionError


class Recorder:
    """A receiver that stores all calls in the order of their arrival.

    Attributes:
        behaviours: how to answer each subscription; by default `accept`.
        come_up: a function after which the receiver accepts connections.
    """

    come_up: Callable[[], Awaitable[None]]

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.calls: list[Call] = []
        self.behaviours: dict[str, Behaviour] = {}
        self._arrived = asyncio.Condition()

    def url(self, subscription: str) -> str:
        """The callback URL of a subscription."""
        return f"{self.base_url}/{subscription}"

    async def handle(self, request: web.Request) -> web.Response:
        """Record the call, then answer."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(
            subscription=headers.get("webhook-subscription", ""),
            webhook_id=headers.get("webhook-id", ""),
            attempt=int(headers.get("webhook-attempt", "0")),
            body=await request.read(),
            headers=headers,
        )
        async with self._arrived:
            self.calls.append(call)
            self._arrived.notify_all()
        return await self.behaviours.get(call.subscription, accept)(call)

    async def until(self, condition: Callable[[], bool], *, within_seconds: float = 45.0) -> None:
        """Return when a condition on the calls holds.

        Raises:
            TimeoutError: the condition does not hold in time; the message contains the number of calls.
        """
        try:
            async with asyncio.timeout(within_seconds), self._arrived:
                await self._arrived.wait_for(condition)
        except TimeoutError as error:
            raise TimeoutError(f"after {within_seconds} s: {len(self.calls)} calls, {self.counts()}") from error

    async def until_events(self, count: int, *, within_seconds: float = 45.0) -> None:
        """Return when this many different events have arrived. An event for two subscriptions counts twice.

        The time limit begins again with each twentieth of the events, so that slow machines have time.
        """
        seen: set[tuple[str, str]] = set()
        place = 0

        def has(wanted: int) -> bool:
            nonlocal place
            seen.update((call.subscription, call.webhook_id) for call in self.calls[place:])
            place = len(self.calls)
            return len(seen) >= wanted

        step = max(1, count // 20)
        while not has(count):
            await self.until(partial(has, min(count, len(seen) + step)), within_seconds=within_seconds)

    def counts(self) -> dict[str, int]:
        """The number of calls of each subscription."""
        return dict(Counter(call.subscription for call in self.calls))

    def of(self, subscription: str) -> list[Call]:
        """The calls of a subscription."""
        return [call for call in self.calls if call.subscription == subscription]

    def repeated(self) -> dict[str, int]:
        """The events that a subscription got more than once, with the number of calls."""
        counts = Counter((call.subscription, call.webhook_id) for call in self.calls)
        return {webhook_id: count for (_, webhook_id), count in counts.items() if count > 1}

    def first_arrivals(self) -> dict[str, list[int]]:
        """For each subscription, the offsets of its events in the order of their first arrivals."""
        firsts: dict[str, dict[int, None]] = defaultdict(dict)
        for call in self.calls:
            firsts[call.subscription].setdefault(call.offset)
        return {subscription: list(offsets) for subscription, offsets in firsts.items()}

    def out_of_order(self) -> list[str]:
        """The subscriptions whose first arrivals are not in the order of the partition."""
        firsts: dict[tuple[str, str], dict[int, None]] = defaultdict(dict)
        for call in self.calls:
            firsts[call.subscription, call.webhook_id.rpartition("-")[0]].setdefault(call.offset)
        return [name for (name, _), offsets in firsts.items() if list(offsets) != sorted(offsets)]


@asynccontextmanager
async def recording(port: int = 0, *, is_down: bool = False) -> AsyncIterator[Recorder]:
    """Run a receiver on loopback.

    Args:
        port: the port; 0 for any.
        is_down: whether its port refuses connections until `come_up` is called.
    """
    application = web.Application(client_max_size=64 * 1024 * 1024)
    # At the end of the test, handlers that hang are cancelled.
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    recorder = Recorder("")
    application.router.add_post("/{tail:.*}", recorder.handle)
    await runner.setup()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))  # refuses connections until `come_up` listens
        recorder.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        recorder.come_up = web.SockSite(runner, listener, backlog=1024).start
        try:
            if not is_down:
                await recorder.come_up()
            yield recorder
        finally:
            await runner.cleanup()
