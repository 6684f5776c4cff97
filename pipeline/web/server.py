"""Registers the pages on Faust's web server.

Faust has no access control, and serves tables, routing and statistics to everyone. So `create_app` passes
`web_options(...)` and `BUILT_IN_PAGES_OFF` to `faust.App`, and then calls `attach_web`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import faust
from aiohttp import hdrs, web

from pipeline.config.web_address import explained
from pipeline.core.clock import Clock, SystemClock
from pipeline.core.patches import Patch, looks_up
from pipeline.observability.prometheus import Metrics
from pipeline.observability.status import EVERY_LANE, LaneFilter, Reporter
from pipeline.observability.telemetry import Telemetry
from pipeline.web.access import Access, guard
from pipeline.web.gate import GatedRunner
from pipeline.web.headers import safe_headers
from pipeline.web.health import health, not_live_reasons, not_ready_reasons
from pipeline.web.lanes import Counted, counted_by, not_counted, parse_query, shown_absent, shown_lane
from pipeline.web.pages.rendering import answer as document
from pipeline.web.pages.worker import page
from pipeline.web.presence import presence
from pipeline.web.principal import Scope
from pipeline.web.problem import problem, problems

BUILT_IN_PAGES_OFF: Final[Mapping[str, Any]] = {
    "web_tables_enabled": False,  # /table: every row of every table
    "web_router_enabled": False,  # /router: which worker has which key
    "web_graph_enabled": False,  # /graph
    "web_stats_enabled": False,  # / and /assignment: the sensors
    "web_metrics_enabled": False,  # /performance
}
"""Settings of `faust.App` that switch off its pages. It still serves `/`, but the overview has priority."""

LARGEST_REQUEST_BYTES: Final = 1024 * 1024

Page = Callable[[web.Request], Awaitable[web.Response]]


def web_options(access: Access) -> dict[str, Any]:
    """The `web_application_options` of `faust.App`: access control, error format and headers of every path."""
    return {
        "middlewares": [safe_headers, problems, guard(access)],
        "client_max_size": LARGEST_REQUEST_BYTES,
    }


def attach_web(
    app: faust.App,
    *,
    reporter: Reporter,
    telemetry: Telemetry,
    access: Access,
    counted: Counted = not_counted,
    clock: Clock | None = None,
) -> None:
    """Register the pages.

    The pages read live objects, so the web server has to run on the app's event loop (the default).

    Args:
        app: the app, made with `web_options`, which guard all other paths.
        reporter: the state of the worker.
        telemetry: the counters of the worker.
        access: the access control in `web_options`. The pages check it, too, in case the app was made without it.
        counted: returns how many events wait for a lane that has not counted them.
        clock: tells the time; by default the system clock.
    """
    views = Views(reporter, telemetry, clock or SystemClock(), counted)
    pages: Mapping[str, tuple[Page, tuple[Scope, ...]]] = {
        "/worker": (views.own, ("read",)),
        "/health/live": (views.live, ()),
        "/health/ready": (views.ready, ()),
        "/lanes": (views.lanes, ("read",)),
        "/metrics": (views.metrics, ("metrics", "read")),
    }
    for path, (show, scopes) in pages.items():
        app.page(path, name=f"webhooks:{show.__name__}")(_view(show, access, scopes))
    _limit_connections(app)


def attach_health(
    app: faust.App, *, missing: Callable[[], Sequence[str]], problems: Callable[[], Sequence[str]], access: Access
) -> None:
    """Register the health checks of a process that delivers nothing.

    Args:
        app: the app, made with `web_options`.
        missing: returns sentences about why the process can't answer yet.
        problems: returns sentences about what is missing in its answers. The process still counts as ready: if it got
            no requests, its pages could not show these sentences.
        access: the access control in `web_options`.
    """

    async def live(_request: web.Request) -> web.Response:
        """Whether the process answers."""
        return health("live", [])

    async def ready(_request: web.Request) -> web.Response:
        """Whether the process can answer."""
        return health("ready", missing(), problems())

    for path, show in {"/health/live": live, "/health/ready": ready}.items():
        app.page(path, name=f"webhooks:{show.__name__}")(_view(show, access, ()))
    _limit_connections(app)


def _limit_connections(app: faust.App) -> None:
    driver: Any = app.web
    driver._runner = GatedRunner(driver.web_app, access_log=None)  # noqa: SLF001 - as the driver creates it
    driver.start_server = partial(_start_server, driver.start_server, app)


async def _start_server(start: Callable[[], Awaitable[None]], app: faust.App) -> None:
    """Do what the driver does to start the server.

    Another worker may have taken the port since worker.py checked it.
    """
    with explained(str(app.conf.web_bind), int(app.conf.web_port)):
        await start()


class Views:
    """The handlers of the pages."""

    def __init__(
        self,
        reporter: Reporter,
        telemetry: Telemetry,
        clock: Clock,
        counted: Counted,
    ) -> None:
        self._reporter = reporter
        self._telemetry = telemetry
        self._clock = clock
        self._counted = counted
        self._metrics = Metrics(reporter, telemetry)

    async def live(self, _request: web.Request) -> web.Response:
        """Whether the worker makes progress."""
        return health("live", not_live_reasons(self._reporter.worker()))

    async def ready(self, _request: web.Request) -> web.Response:
        """Whether the worker delivers all of its partitions."""
        report = self._reporter.worker()
        return health("ready", not_ready_reasons(report), report.warnings)

    async def metrics(self, request: web.Request) -> web.Response:
        """Show the metrics for Prometheus."""
        body, media_type = await self._metrics.render(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: media_type})

    async def lanes(self, request: web.Request) -> web.Response:
        """Show lanes as JSON."""
        query = parse_query(request.query)
        if isinstance(query, list):
            return problem(HTTPStatus.BAD_REQUEST, "; ".join(query), members={"problems": query})
        reporter, wanted = self._reporter, query.wanted
        lanes, absent = await reporter.lanes(wanted), await reporter.absent(wanted)
        on_page, absent_on_page = query.page(lanes, absent)
        without = [found for name in absent_on_page if (found := reporter.absent_one(name)) is not None]
        worker = reporter.worker()
        answer: dict[str, Any] = {
            "worker": worker.name,
            "partitions": worker.assigned,
            "lanes": [*(shown_lane(counted_by(each, self._counted)) for each in on_page), *map(shown_absent, without)],
            "total": len(lanes) + len(absent),
            "limit": query.limit,
            "offset": query.offset,
            "warnings": list(reporter.worker().warnings),
        }
        if wanted.subscription is not None:
            asked = await presence(reporter, wanted.subscription)
            answer["subscription"] = {"id": asked.subscription, "where": asked.where, "sentence": asked.sentence}
        return web.json_response(answer)

    async def own(self, request: web.Request) -> web.Response:
        """Show the page of this worker. `?subscription=ID` shows only that subscription."""
        reporter, name = self._reporter, request.query.get("subscription", "").strip()
        wanted = LaneFilter(subscription=name) if name else EVERY_LANE
        lanes = await reporter.lanes(wanted)
        asked = await presence(reporter, name) if name else None
        absent = len(await reporter.absent(wanted))
        return document(
            await page(reporter.worker(), lanes, self._telemetry, self._clock.now(), absent=absent, asked=asked)
        )


def _view(show: Page, access: Access, scopes: tuple[Scope, ...]) -> Any:
    """Turn *show* into a page for Faust: a coroutine function whose first argument is a Faust view."""

    async def get(_view: faust.web.View, request: web.Request) -> web.Response:
        refusal = await access.refusal(request, *scopes, is_for_all=True)
        return await show(request) if refusal is None else refusal

    get.__doc__ = show.__doc__
    return get


_UNBOUNDED: Final = "connections to the pages are not limited and can use up the file descriptors of deliveries"

PATCHES: Final = (
    Patch(
        "faust-streaming",
        "Web._runner",
        _UNBOUNDED,
        looks_up("faust.web.drivers.aiohttp:Web._new_transport_tcp", "_runner"),
    ),
    Patch("aiohttp", "AppRunner.server", _UNBOUNDED, looks_up("aiohttp.web:TCPSite.start", "server")),
    Patch(
        "aiohttp",
        "RequestHandler._messages",
        _UNBOUNDED,
        looks_up("aiohttp.web:RequestHandler.data_received", "_messages"),
    ),
    Patch(
        "aiohttp",
        "RequestHandler._current_request",
        _UNBOUNDED,
        looks_up("aiohttp.web:RequestHandler._handle_request", "_current_request"),
    ),
)
