"""Whether the worker is live (if not, it should be restarted), and ready (if not, it can't deliver everything yet).

`waiting_pages` answers for a worker that waits before Faust's web server runs. Such a worker is live, but not ready.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final, Literal

from aiohttp import web

from pipeline.config.web_address import explained
from pipeline.observability.status import WorkerReport
from pipeline.web.gate import GatedRunner
from pipeline.web.headers import safe_headers
from pipeline.web.problem import problem, problems

STALLED_AFTER_SECONDS: Final = 60.0
"""A worker is not live if a partition has had work but made no progress for `hold_seconds` and this long: only when
events have been held for `hold_seconds` do their lanes have to leave the stream."""


def not_live_reasons(report: WorkerReport) -> list[str]:
    """Why the worker isn't live: open partitions that have had work but made no progress for too long."""
    limit = report.hold_seconds + STALLED_AFTER_SECONDS
    return [
        f"partition {partition.partition} of {partition.topic} has work and has made no progress for "
        f"{partition.idle_seconds:.0f} s"
        for partition in report.partitions
        if partition.is_open and partition.has_work and partition.idle_seconds > limit
    ]


def not_ready_reasons(report: WorkerReport) -> list[str]:
    """Why the worker isn't ready, according to `WorkerReporter.problem` (observability/reporter.py)."""
    return [] if report.ready else [report.problem or "the worker is starting"]


def health(name: Literal["live", "ready"], reasons: Sequence[str], warnings: Sequence[str] = ()) -> web.Response:
    """An answer with status 200 without *reasons*, else 503. Warnings are in the body and don't change the status."""
    members: dict[str, Any] = {name: not reasons, "reasons": list(reasons)}
    if warnings:
        members["warnings"] = list(warnings)
    if reasons:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(reasons), members=members)
    return web.json_response(members)


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
