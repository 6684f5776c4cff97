"""The worker as a process: `webhooks worker`, or `faust -A pipeline.worker worker`.

    patches checked -> settings -> definition -> topics made, topics and rights checked, beginning fixed -> create_app
    -> Faust runs it

`app` is made when somebody asks this module for it, so importing the module does nothing.
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
from pipeline.config.definition import Definition, load_definition
from pipeline.config.settings import Settings
from pipeline.core.errors import WebhooksError
from pipeline.core.patches import check_patches
from pipeline.http import connection
from pipeline.kafka import internals, records
from pipeline.observability.instruments import LineLimit
from pipeline.observability.logs import Facts, logging_config
from pipeline.runtime import consumer
from pipeline.runtime.allowance import LOOK_SECONDS, Allowance
from pipeline.runtime.consumer import DeliveryApp
from pipeline.runtime.initial_offsets import fix_beginning
from pipeline.runtime.open_files import raise_limit, shortage
from pipeline.runtime.preflight import Findings, examine
from pipeline.web import server
from pipeline.web.binding import explained
from pipeline.web.waiting import waiting_pages

logger = logging.getLogger(__name__)

LOOK_PAUSE_SECONDS: Final = 2.0
"""Between two looks at what the worker waits for before it starts."""

PATCHES: Final = (*records.PATCHES, *internals.PATCHES, *connection.PATCHES, *consumer.PATCHES, *server.PATCHES)
"""What is changed in libraries; a worker starts only if all of it takes."""


class LogWorker(faust.Worker):
    """Faust's worker that speaks through the log alone: no banner, no spinner, no escape codes."""

    def __init__(self, *services: Any, **options: Any) -> None:
        super().__init__(*services, **{**options, "quiet": True})
        self.spinner = None

    async def start(self) -> None:
        """Run until the worker stops; an error of its configuration that only shows now is one line."""
        try:
            await super().start()
        except WebhooksError as error:
            logger.error("%s", error)  # noqa: TRY400 - it is no fault of the code
            raise SystemExit(1) from None

    async def on_first_start(self) -> None:
        """Before anything else starts."""
        self.loop.set_exception_handler(_pass_over_stops)
        await super().on_first_start()

    async def on_startup_finished(self) -> None:
        """Everything runs."""
        _collect_rarely()
        await self.maybe_start_blockdetection()
        conf = self.app.conf
        where = f"pages at http://{conf.web_bind}:{conf.web_port}/" if conf.web_enabled else "without pages"
        logger.info("worker started, %s", where)


def _collect_rarely() -> None:
    """Keep the garbage collector from looking at all that stays, again and again.

    Deliveries make no cycles. With Python's own thresholds 3.5 % of the time went into looking for some, in pauses up
    to 46 ms with 100,000 events queued.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def create_worker_app(settings: Settings, *, with_web: bool = False) -> DeliveryApp:
    """The application of a worker whose surroundings are as they have to be; topics that may be missing are made.

    Call it without a running event loop. While this user lacks a right that a worker needs, it does not return.

    Args:
        settings: from the environment.
        with_web: serve the health pages while it waits.

    Raises:
        ConfigurationError: the definition can't be used.
        BrokerError: a broker can't be reached, or a topic is not as it has to be.
        LibraryError: a change that is made to a library has no effect.
    """
    check_patches(PATCHES)
    logging.config.dictConfig(logging_config(settings.log_format, settings.log_level))
    definition = load_definition(settings.api, settings.bootstrap_servers, settings.key_store_dir)
    _log_configuration(settings, definition)
    limit = raise_limit()
    former_topics = asyncio.run(_prepare(settings, definition, limit, with_web=with_web))
    return as_worker(create_app(settings, definition, former_topics))


async def _prepare(settings: Settings, definition: Definition, limit: int, *, with_web: bool) -> dict[int, str]:
    """See to the surroundings of a worker; returns what `fix_beginning` does."""
    findings = await examine(definition, settings.app, create=True)
    if _waits(findings):
        findings = await _until_possible(settings, definition, findings, with_web=with_web)
    findings.raise_problems()
    for fact in findings.facts:
        logger.info("%s", fact)
    for warning in findings.warnings:
        logger.warning("%s", warning)
    short = shortage(limit, partitions=findings.partitions, max_in_flight=settings.max_in_flight)
    if short is not None:
        logger.warning("%s", short)
    return await fix_beginning(definition.source, settings.app, findings.partitions)


def _waits(findings: Findings) -> bool:
    return bool(findings.missing or findings.awaited) and not findings.problems


async def _until_possible(
    settings: Settings, definition: Definition, findings: Findings, *, with_web: bool
) -> Findings:
    """Wait for rights and leaders that a worker needs; the findings when they are there, or when something is wrong."""
    allowance, lines = Allowance(), LineLimit(LOOK_SECONDS)

    def reason() -> str | None:
        return "; ".join(filter(None, (allowance.problem, *findings.awaited))) or None

    async with contextlib.AsyncExitStack() as stack:
        if with_web:
            pages = waiting_pages(settings.web_bind, settings.web_port, reason)
            await stack.enter_async_context(pages)
        while _waits(findings):
            allowance.note(findings.missing)
            for trouble in findings.awaited:
                if lines.passes(trouble) is not None:
                    logger.warning("%s; this worker waits for that", trouble)
            await asyncio.sleep(LOOK_PAUSE_SECONDS)
            findings = await examine(definition, settings.app, create=True)
    allowance.note(findings.missing)
    return findings


def as_worker(app: DeliveryApp) -> DeliveryApp:
    """*app*, run by `LogWorker` wherever Faust runs it."""
    app.conf.Worker = LogWorker  # type: ignore[assignment]  # Faust types the setting by its reader's result
    return app


def check_web_port(settings: Settings) -> None:
    """Find out before anything starts whether the pages could be served.

    Raises:
        ConfigurationError: the address can't be bound.
    """
    family = socket.AF_INET6 if ":" in settings.web_bind else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with explained(settings.web_bind, settings.web_port):
            listener.bind((settings.web_bind, settings.web_port))


def _pass_over_stops(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Faust ends a recovery that is told to stop with an exception in a task that nobody asks: no news."""
    if not isinstance(context.get("exception"), ServiceStopped):
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
