"""`/api/stream`: server-sent events.

When a page gets an event, something has changed, and the page fetches itself again. An event contains only a number, so
its cost does not depend on the change, and a missed event does no harm.

The token of a tenant gets events at a fixed pace. Events after changes would reveal how often other tenants'
subscriptions change.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from pipeline.core.errors import BusyError
from pipeline.web.principal import Principal
from pipeline.web.problem import problem
from pipeline.web.tenant_limits import Places

MOST_LISTENERS: Final = 32
"""The largest number of listeners: a quarter of the connections (gate.py). The pages of refused listeners poll."""
OF_A_TENANT: Final = 8
LEAST_SECONDS: Final = 1.0
"""The shortest time between two server-sent events for one listener."""
TENANT_SECONDS: Final = 3.0
"""The shortest time between two server-sent events for a listener whose token is limited to a tenant."""
SILENT_SECONDS: Final = 15.0
"""Without a change, a comment is sent this often to show listeners and proxies that the connection is alive."""
WRITE_SECONDS: Final = 5.0
"""How long a listener may leave its events unread before it is disconnected."""

Changed = Callable[[int], Awaitable[int]]


class Stream:
    """Sends a server-sent event to listening pages after each change.

    Args:
        changed: waits until there is a version newer than the given one, and returns it.
        most: the largest number of listeners.
        least_seconds: see LEAST_SECONDS.
        tenant_seconds: see TENANT_SECONDS.
        write_seconds: see WRITE_SECONDS.
    """

    def __init__(
        self,
        changed: Changed,
        *,
        most: int = MOST_LISTENERS,
        least_seconds: float = LEAST_SECONDS,
        tenant_seconds: float = TENANT_SECONDS,
        write_seconds: float = WRITE_SECONDS,
    ) -> None:
        self._changed = changed
        self._places = Places("pages are listening", most, OF_A_TENANT)
        self._least_seconds = least_seconds
        self._tenant_seconds = tenant_seconds
        self._write_seconds = write_seconds
        self._listeners: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def listeners(self) -> int:
        """The number of listeners."""
        return len(self._listeners)

    async def serve(self, request: web.Request, principal: Principal) -> web.StreamResponse:
        """Send events to one listener until it disconnects, is too slow, or the worker stops."""
        if self._is_closed:
            return _refused("the worker is stopping")
        try:
            with self._places.place(principal):
                return await self._serve(request, self._ticked if principal.tenant else self._changed)
        except BusyError as error:
            return _refused(f"{error}; poll instead")

    async def _ticked(self, since: int) -> int:
        await asyncio.sleep(self._tenant_seconds)
        return since + 1

    async def _serve(self, request: web.Request, changed: Changed) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={hdrs.CONTENT_TYPE: "text/event-stream", "X-Accel-Buffering": "no"}  # or proxies buffer events
        )
        # `close` cancels this separate task. Cancelling the request's task would not end the answer properly.
        telling = asyncio.ensure_future(self._tell(request, response, changed))
        self._listeners.add(telling)
        try:
            await asyncio.wait({telling})
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            self._listeners.discard(telling)
        return response

    async def close(self, _app: web.Application | None = None) -> None:
        """End all answers. A stopping server waits for its requests, and the requests of listeners never end."""
        self._is_closed = True
        for each in self._listeners:
            each.cancel()

    async def _tell(self, request: web.Request, response: web.StreamResponse, changed: Changed) -> None:
        version = 0
        try:
            await response.prepare(request)
            # aiohttp sends the head only with the first part of the body, and the listener waits for the head.
            await response.write(b": listening\n\n")
            while True:
                try:
                    async with asyncio.timeout(SILENT_SECONDS):
                        version = await changed(version)
                    message = f"event: changed\ndata: {version}\n\n"
                except TimeoutError:
                    message = ": nothing has changed\n\n"
                async with asyncio.timeout(self._write_seconds):
                    await response.write(message.encode())
                await asyncio.sleep(self._least_seconds)
        except ConnectionError:
            return  # the listener has disconnected
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()


def _refused(why: str) -> web.Response:
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, why, headers={hdrs.RETRY_AFTER: "60"})
