"""Composes, starts and stops the parts of `webhooks dev`."""

import contextlib
import logging.config
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import mode.loop

from pipeline.app import create_app
from pipeline.cli.dev.embedded_broker import EmbeddedBroker
from pipeline.cli.dev.project import DEAD_LETTERS, LOOPBACK, PARTITIONS, SOURCE, Project, create_project
from pipeline.cli.dev.receiver import MODES, REJECT, Receiver
from pipeline.cli.dev.samples import DOWN, HEALTHY, REJECTED, Samples, sample_subscriptions
from pipeline.core.errors import ConfigurationError
from pipeline.core.patches import check_patches
from pipeline.kafka.topics import (
    attempts_topic,
    audit_topic,
    cursors_topic,
    events_topic,
    subscriptions_topic,
    tokens_topic,
    workers_topic,
)
from pipeline.observability.logs import logging_config
from pipeline.subscriptions.session import opened_registry
from pipeline.worker import PATCHES, LogWorker

ANY_PORT: Final = 0

Say = Callable[[str], None]


class DevWorker(LogWorker):
    """A worker that prints a guide once everything runs."""

    def __init__(self, *services: Any, guide: Callable[[], None], **options: Any) -> None:
        super().__init__(*services, **options)
        self._guide = guide

    async def on_startup_finished(self) -> None:
        """Print the guide."""
        await super().on_startup_finished()
        self._guide()


def run(*, web_port: int | None, receiver_port: int | None, verbose: bool, say: Say) -> None:
    """Run everything until SIGINT or SIGTERM, then end the process.

    Args:
        web_port: the port of the pages; None for a free one.
        receiver_port: the port of the receiver; None for a free one.
        verbose: log from INFO on; otherwise from WARNING on.
        say: prints one line.

    Raises:
        ConfigurationError: a port is taken.
        BrokerError: the embedded broker did not start.
        LibraryError: a patch of a library has no effect.
    """
    check_patches(PATCHES)
    if sys.platform != "win32":
        mode.loop.use("uvloop")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_bound("--receiver-port", receiver_port, listens=True))
        # Bound but not listening, so connections are refused and no other process can use the port.
        nobody = stack.enter_context(_bound("", None))
        with _bound("--web-port", web_port) as pages:
            chosen: int = pages.getsockname()[1]
        broker = stack.enter_context(EmbeddedBroker())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="webhooks-dev-")))
        level = "INFO" if verbose else "WARNING"
        project = create_project(folder, broker.bootstrap, web_port=chosen, log_level=level)
        logging.config.dictConfig(logging_config(level=level))
        create_topics(broker, project)
        worker = _worker(project, listener, _address(nobody), say)
        stack.callback(say, "stopped; nothing was kept")
        worker.execute_from_commandline()


def create_topics(broker: EmbeddedBroker, project: Project) -> None:
    """Create the topics that a worker and the samples need. The embedded broker can't create them for admin clients."""
    app = project.settings.app
    broker.create_topic(SOURCE, PARTITIONS)
    broker.create_topic(DEAD_LETTERS, 1)
    broker.create_topic(subscriptions_topic(app), 1)
    broker.create_topic(cursors_topic(app), PARTITIONS)
    broker.create_topic(tokens_topic(app), PARTITIONS)
    broker.create_topic(workers_topic(app), 1)
    broker.create_topic(audit_topic(app), 1)
    broker.create_topic(events_topic(app), 1)
    broker.create_topic(attempts_topic(app), PARTITIONS)


def _worker(project: Project, listener: socket.socket, nobody: str, say: Say) -> DevWorker:
    receiver = Receiver(listener, say, {REJECTED: REJECT}, partial(_ids, project))
    samples = Samples(project, sample_subscriptions(receiver.address, nobody))
    app = create_app(project.settings, project.definition)
    app.finalize()
    app.worker_init()
    app.worker_init_post_autodiscover()
    return DevWorker(
        app,
        # Started in this order, before the application; stopped in reverse order.
        receiver,
        samples,
        guide=lambda: say(guide(project, receiver.address)),
        loglevel=project.settings.log_level,
    )


async def _ids(project: Project) -> list[str]:
    """The ids of all subscriptions."""
    async with opened_registry(project.settings, project.definition) as registry:
        return sorted(each.id for each in registry.all())


def guide(project: Project, receiver: str) -> str:
    """The text of the guide: where the pages are, what to try, and how to use other commands."""
    settings = project.settings
    token = "" if settings.admin_token is None else settings.admin_token.get_secret_value()
    look = f"http://dev:{token}@{LOOPBACK}:{settings.web_port}/"
    states = (
        f"the receiver of {REJECTED} rejects its events (see {DEAD_LETTERS}), that of {DOWN} is down, so {DOWN} is "
        "soon in FAILURE; the others are healthy"
    )
    behave = f"curl -X POST 'http://{receiver}/behave?subscription={HEALTHY}&mode=fail'"
    programs = sysconfig.get_path("scripts")
    match = f'echo \'{{"country": "japan"}}\' | webhooks match - -H ce_type:order.placed --key {DOWN}'
    return "\n".join(
        [
            f"look: {look}",
            f"subscriptions: {states}",
            f"try:  {behave}  or mode={'|'.join(MODES)}; Ctrl-C ends everything",
            "more, in another terminal:",
            f"      export WEBHOOKS_CONFIG={project.config} PATH={programs}:$PATH",
            "      webhooks subscriptions list",
            f"      webhooks send {HEALTHY} '{{}}'",
            "      webhooks dlq list",
            f"      {match}",
        ]
    )


def _bound(option: str, port: int | None, *, listens: bool = False) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, ANY_PORT if port is None else port))
        if listens:
            listener.listen()  # with SO_REUSEADDR, two sockets can be bound to a port until one of them listens
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"{option}: {LOOPBACK}:{port} can't be bound: {error.strerror}") from None
    return listener


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()
    return f"{host}:{port}"
