"""A receiver on loopback. It prints a line for each call, and answers each subscription according to its mode.

curl -X POST 'http://127.0.0.1:PORT/behave?subscription=sub-1&mode=fail'
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from mode import Service

from pipeline.cli.output import printable
from pipeline.core.shown import shown


@dataclass(frozen=True, slots=True)
class Mode:
    """How to answer: with *status*, after *seconds*."""

    status: int
    seconds: float = 0.0


OK: Final = "ok"
REJECT: Final = "reject"
MODES: Final[Mapping[str, Mode]] = {
    OK: Mode(HTTPStatus.OK),
    "slow": Mode(HTTPStatus.OK, seconds=2.0),
    REJECT: Mode(HTTPStatus.UNPROCESSABLE_ENTITY),
    "fail": Mode(HTTPStatus.SERVICE_UNAVAILABLE),
}


class Receiver(Service):
    """The receiver of `webhooks dev`.

    Args:
        listener: a bound socket.
        say: prints one line.
        behaviour: the initial mode of each subscription, `ok` by default.
        known: returns the ids of all subscriptions; only their modes can be changed.
    """

    def __init__(
        self,
        listener: socket.socket,
        say: Callable[[str], None],
        behaviour: Mapping[str, str],
        known: Callable[[], Awaitable[Collection[str]]],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._listener = listener
        self._say = say
        self._behaviour = dict(behaviour)
        self._known = known
        application = web.Application()
        application.add_routes(
            [web.post("/hook", self._hook), web.options("/hook", self._permit), web.post("/behave", self._behave)]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)

    @property
    def address(self) -> str:
        """The address, `host:port`."""
        host, port = self._listener.getsockname()[:2]
        return f"{host}:{port}"

    async def on_start(self) -> None:
        """Listen."""
        await self._runner.setup()
        await web.SockSite(self._runner, self._listener).start()

    async def on_stop(self) -> None:
        """Close."""
        await self._runner.cleanup()

    async def _hook(self, request: web.Request) -> web.Response:
        await request.read()
        subscription, identity, attempt = (
            printable(request.headers.get(f"webhook-{name}")) for name in ("subscription", "id", "attempt")
        )
        mode = MODES[self._behaviour.get(subscription, OK)]
        if mode.seconds:
            await asyncio.sleep(mode.seconds)
        self._say(f"received {subscription} {identity} attempt {attempt} -> {mode.status:d}")
        return web.Response(status=mode.status)

    async def _permit(self, request: web.Request) -> web.Response:
        """Answer the handshake of CloudEvents webhooks, and permit every origin."""
        origin = request.headers.get("WebHook-Request-Origin", "*")
        self._say(f"permitted {printable(origin)}")
        headers = {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*", "Allow": "OPTIONS, POST"}
        return web.Response(headers=headers)

    async def _behave(self, request: web.Request) -> web.Response:
        subscription, mode = request.query.get("subscription", ""), request.query.get("mode", "")
        if not subscription or mode not in MODES:
            text = f"allowed: /behave?subscription=ID&mode=MODE with MODE one of {', '.join(MODES)}\n"
            return web.Response(status=HTTPStatus.BAD_REQUEST, text=text)
        known = await self._known()
        if subscription not in known:
            text = f"there is no subscription {shown(subscription)}; known: {', '.join(map(printable, known))}\n"
            return web.Response(status=HTTPStatus.BAD_REQUEST, text=text)
        self._behaviour[subscription] = mode
        answer = f"subscription {shown(subscription)} is answered {MODES[mode].status:d} from now on (mode {mode})"
        self._say(answer)
        return web.Response(text=f"{answer}\n")
