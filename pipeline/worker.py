"""The worker as a process: `webhooks worker`, or `faust -A pipeline.worker worker`.

    settings -> check patches -> definition -> check rights, create and check topics, commit initial offsets
    -> create_app -> Faust runs it

`app` is created on first access, so importing the module has no effect.
"""

import asyncio
import contextlib
import gc
import logging
import logging.config
import socket
from typing import Any, Final

import faust
from faust.tables.recovery import ServiceStopped

from pipeline.app import create_app
from pipeline.config.definition import Definition, configured_definition
from pipeline.config.settings import Settings
from pipeline.core.errors import ConfigurationError, WebhooksError
from pipeline.core.patches import check_patches
from pipeline.core.sources import TopicPartition
from pipeline.http import connection, connector
from pipeline.kafka import internals, lost_connections, records
from pipeline.observability.instruments import LineLimit
from pipeline.observability.logs import Facts, logging_config
from pipeline.runtime import application
from pipeline.runtime.application import DeliveryApp
from pipeline.runtime.initial_offsets import fix_beginnings
from pipeline.runtime.open_files import raise_limit, shortage
from pipeline.runtime.preflight import Findings, examine
from pipeline.runtime.rights_watch import LOOK_SECONDS, RightsWatch
from pipeline.runtime.stop_deadline import STOP_SECONDS, end_after
from pipeline.subscriptions.routing_evidence import require_routing
from pipeline.web import server
from pipeline.web.health import waiting_pages

logger = logging.getLogger(__name__)

LOOK_PAUSE_SECONDS: Final = 2.0
"""The time between two checks of whether a waiting worker can start."""

PATCHES: Final = (
    *records.PATCHES,
    *internals.PATCHES,
    *lost_connections.PATCHES,
    *connection.PATCHES,
    *connector.PATCHES,
    *application.PATCHES,
    *server.PATCHES,
)
"""The patches of libraries. A worker starts only if all of them have an effect."""


class LogWorker(faust.Worker):
    """Faust's worker without banner, spinner and escape codes: it writes only to the log."""

    def __init__(self, *services: Any, **options: Any) -> None:
        super().__init__(*services, **{**options, "quiet": True})
        self.spinner = None
        # Neither the start nor deliveries create many cycles. With Python's default thresholds, collections took a
        # sixth of the CPU time of a start with 100,000 subscriptions, and 3.5 % of the CPU time of deliveries. With
        # 100,000 queued events, a collection paused deliveries for up to 46 ms.
        gc.set_threshold(50_000, 20, 50)

    async def start(self) -> None:
        """Run until the worker stops. An error in the configuration is logged in one line."""
        try:
            await super().start()
        except WebhooksError as error:
            logger.error("%s", error)  # noqa: TRY400 - not a bug, so no traceback
            raise SystemExit(1) from None

    async def on_first_start(self) -> None:
        """Install the exception handler before anything else starts."""
        self.loop.set_exception_handler(log_unawaited)
        await super().on_first_start()

    async def on_stop(self) -> None:
        """Begin to stop. If the stop takes too long, the process ends before the stop is complete."""
        end_after(STOP_SECONDS, self.loop)
        await super().on_stop()

    async def on_startup_finished(self) -> None:
        """Exclude everything that exists from garbage collections, and log the address of the pages."""
        gc.freeze()
        await self.maybe_start_blockdetection()
        conf = self.app.conf
        where = f"pages at http://{conf.web_bind}:{conf.web_port}/" if conf.web_enabled else "without pages"
        logger.info("worker started, %s", where)


def create_worker_app(settings: Settings, *, with_web: bool = False) -> DeliveryApp:
    """Check that a worker can run, create missing topics of the pipeline, and make the worker's application.

    Call this without a running event loop. Waits until this user has all required rights, and until all partitions that
    Faust needs at the start have leaders.

    Args:
        settings: the settings.
        with_web: serve health checks during the wait.

    Raises:
        ConfigurationError: the definition can't be used.
        BrokerError: a broker can't be reached, or a topic does not have the required properties.
        LibraryError: a patch of a library has no effect.
    """
    check_patches(PATCHES)
    logging.config.dictConfig(logging_config(settings.log_format, settings.log_level))
    definition = configured_definition(settings)
    _log_configuration(settings, definition)
    _create_folder(settings)
    limit = raise_limit()
    former_topics = asyncio.run(_prepare(settings, definition, limit, with_web=with_web))
    return as_worker(create_app(settings, definition, former_topics))


def _create_folder(settings: Settings) -> None:
    """Create the data directory with its parents, because Faust creates only the last one."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise ConfigurationError(f"WEBHOOKS_DATA_DIR: {settings.data_dir} can't be created: {reason}") from None


async def _prepare(
    settings: Settings, definition: Definition, limit: int, *, with_web: bool
) -> dict[TopicPartition, str]:
    """Check topics and rights, and commit initial offsets. Returns the result of `fix_beginnings`."""
    await require_routing(settings, definition)
    findings = await examine(definition, settings.app, create=True)
    if _waits(findings):
        findings = await _until_possible(settings, definition, findings, with_web=with_web)
    findings.raise_problems()
    for fact in findings.facts:
        logger.info("%s", fact)
    for warning in findings.warnings:
        logger.warning("%s", warning)
    short = shortage(limit, partitions=sum(findings.counts.values()), max_in_flight=settings.max_in_flight)
    if short is not None:
        logger.warning("%s", short)
    return await fix_beginnings(definition.source, settings.app, findings.counts)


def _waits(findings: Findings) -> bool:
    return bool(findings.missing or findings.awaited) and not findings.problems


async def _until_possible(
    settings: Settings, definition: Definition, findings: Findings, *, with_web: bool
) -> Findings:
    """Wait for the rights and leaders that a worker needs. Returns early if there is another problem."""
    rights, lines = RightsWatch(), LineLimit(LOOK_SECONDS)

    def reason() -> str | None:
        return "; ".join(filter(None, (rights.problem, *findings.awaited))) or None

    async with contextlib.AsyncExitStack() as stack:
        if with_web:
            pages = waiting_pages(settings.web_bind, settings.web_port, reason)
            await stack.enter_async_context(pages)
        while _waits(findings):
            rights.report(findings.missing)
            for problem in findings.awaited:
                if lines.passes(problem) is not None:
                    logger.warning("%s; waiting for it before starting", problem)
            await asyncio.sleep(LOOK_PAUSE_SECONDS)
            findings = await examine(definition, settings.app, create=True)
    rights.report(findings.missing)
    return findings


def as_worker(app: DeliveryApp) -> DeliveryApp:
    """Make Faust run *app* with `LogWorker`; returns *app*."""
    app.conf.Worker = LogWorker  # type: ignore[assignment]  # Faust types the setting by its reader's result
    return app


def log_unawaited(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The exception handler of the event loop. Logs an error that no task awaits.

    Two errors are expected and not logged: `ServiceStopped`, with which Faust ends a recovery, and the failed name
    lookup of a connection that was given up (in uvloop, a future that is not a task).
    """
    error, is_task = context.get("exception"), isinstance(context.get("future"), asyncio.Task)
    if not (isinstance(error, ServiceStopped) or (isinstance(error, socket.gaierror) and not is_task)):
        loop.default_exception_handler(context)


def _log_configuration(settings: Settings, definition: Definition) -> None:
    logger.info(Facts("settings", settings.effective()))
    if definition.ignored:
        logger.info("fields of the definition without effect here: %s", ", ".join(definition.ignored))


def __getattr__(name: str) -> DeliveryApp:
    """`app`, for `faust -A pipeline.worker`."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return create_worker_app(Settings())
    except WebhooksError as error:
        raise SystemExit(str(error)) from None
