"""Health checks of a worker that waits before Faust's web server runs. Such a worker is live, but not ready."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from pipeline.config.web_address import explained
from pipeline.web.gate import GatedRunner
from pipeline.web.headers import safe_headers
from pipeline.web.health import health
from pipeline.web.problem import problems


@asynccontextmanager
async def waiting_pages(host: str, port: int, reason: Callable[[], str | None]) -> AsyncIterator[None]:
    """Serve `/health/live` and `/health/ready`.

    Args:
        host: the address to listen on.
        port: the port to listen on.
        reason: a sentence about what the worker waits for.

    Raises:
        ConfigurationError: the address can't be bound.
    """

    async def live(_request: web.Request) -> web.Response:
        return health("live", [])

    async def ready(_request: web.Request) -> web.Response:
        return health("ready", [reason() or "the worker is starting"])

    app = web.Application(middlewares=[safe_headers, problems])
    app.router.add_get("/health/live", live)
    app.router.add_get("/health/ready", ready)
    runner = GatedRunner(app, access_log=None)
    await runner.setup()
    try:
        with explained(host, port):
            await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
