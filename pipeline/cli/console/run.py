"""Composes and runs `webhooks console`: the view of the cluster and the API on Faust's web server."""

import logging.config
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import faust
import mode.loop
from faust.app.base import BootStrategy

from pipeline.cluster.attempt_search import AttemptSearch
from pipeline.cluster.audit import AuditLog
from pipeline.cluster.view import ClusterView
from pipeline.config.definition import configured_definition
from pipeline.config.settings import Settings
from pipeline.config.web_address import check_web_port
from pipeline.core.clock import SystemClock
from pipeline.core.patches import check_patches
from pipeline.http.ssrf_guard import Guard
from pipeline.kafka.topics import audit_topic, subscriptions_topic
from pipeline.observability.logs import logging_config
from pipeline.runtime.engine import Engine, Part
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.session import secret_box
from pipeline.subscriptions.store import SubscriptionStore
from pipeline.web.access import configured_access
from pipeline.web.api import attach_api
from pipeline.web.pages import PageSources, attach_pages
from pipeline.web.server import BUILT_IN_PAGES_OFF, attach_health, web_options
from pipeline.worker import PATCHES, LogWorker


class WebAlone(BootStrategy):
    """Starts the web server, and no part of Faust that uses Kafka."""

    def server(self) -> Iterable[Any]:
        """See `BootStrategy`."""
        return self.web_server()


class ConsoleApp(faust.App):
    """A Faust application that serves pages only."""

    BootStrategy: ClassVar[type[BootStrategy]] = WebAlone


def create_console(settings: Settings) -> ConsoleApp:
    """Make the application. It connects to nothing until it is started. Call this without a running event loop.

    Raises:
        ConfigurationError: settings or definition can't be used.
    """
    definition, clock = configured_definition(settings), SystemClock()
    connection, topic = definition.source.connection, subscriptions_topic(settings.app)
    box = secret_box(settings)
    access = configured_access(settings)
    registry = Registry(connection, topic, box, definition, clock=clock)
    guard = Guard(settings.allow_private_networks)
    store = SubscriptionStore(registry, connection, topic, box, definition, clock=clock, guard=guard)
    audit = AuditLog(connection, audit_topic(settings.app), clock)
    view = ClusterView(settings.app, definition.source, definition.routing, registry, clock)
    app = ConsoleApp(
        f"{settings.app}-console",
        broker=connection.faust_broker(),  # required, but not used
        store="memory://",
        datadir=settings.data_dir,
        web_bind=settings.web_bind,
        web_port=settings.web_port,
        web_application_options=web_options(access),
        **BUILT_IN_PAGES_OFF,
        logging_config=logging_config(settings.log_format, settings.log_level),
        worker_redirect_stdouts=False,
    )
    parts = [
        Part(audit.close),
        Part(registry.stop, partial(registry.start, view.on_subscription)),
        Part(store.close),
        Part(view.stop, view.start),
    ]
    app.add_dependency(Engine(parts))
    attach_health(app, missing=_missing(view), problems=view.problems, access=access)
    attach_api(app, settings, definition, registry=registry, store=store, view=view, audit=audit, access=access)
    ids = settings.webhook_ids
    attempts = AttemptSearch(definition, settings.app, registry, ids)
    own = f"{settings.web_bind}:{settings.web_port}"
    attach_pages(
        app, PageSources(settings.app, lambda: own, definition, view, registry, None, ids, clock, attempts), access
    )
    return app


def _missing(view: ClusterView) -> Callable[[], list[str]]:
    """Returns sentences about why the console can't answer yet; none once the topics have been read."""
    has_read = False

    def missing() -> list[str]:
        nonlocal has_read
        has_read = has_read or view.has_read_states
        return [] if has_read else ["the topics have not been read yet"]

    return missing


def run() -> None:
    """Run a console until SIGINT or SIGTERM, then end the process.

    Raises:
        ConfigurationError: the settings, the definition or the address of the pages can't be used.
    """
    mode.loop.use("uvloop")
    check_patches(PATCHES)
    settings = Settings()
    logging.config.dictConfig(logging_config(settings.log_format, settings.log_level))
    check_web_port(settings)
    app = create_console(settings)
    app.finalize()
    app.worker_init()
    app.worker_init_post_autodiscover()
    LogWorker(app, loglevel=settings.log_level).execute_from_commandline()
