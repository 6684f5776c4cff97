"""Records the changes of commands in `<app>.audit`, where the API also records its changes."""

import getpass
import os
import socket
from collections.abc import Mapping
from typing import Any

import click

from pipeline.cli.output import say
from pipeline.cluster.audit import AuditEntry, AuditLog
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.clock import SystemClock
from pipeline.core.errors import BrokerError
from pipeline.kafka.topics import audit_topic


async def record(
    settings: Settings, definition: Definition, facts: Mapping[str, Any], revisions: Mapping[str, int] | None = None
) -> None:
    """Record what the running command has done. If this fails, print why.

    Args:
        settings: contain the name of the application.
        definition: the API definition, which names the cluster.
        facts: what the command did, without secrets.
        revisions: the new revisions of the changed subscriptions.
    """
    found = revisions or {}
    one = next(iter(found)) if len(found) == 1 else None
    entry = AuditEntry(_user(), {}, socket.gethostname(), click.get_current_context().command_path, one, facts)
    log = AuditLog(definition.source.connection, audit_topic(settings.app), SystemClock())
    try:
        await log.record_all(entry, found)
    except BrokerError as error:
        say(f"the change was made, but not recorded: {error}", err=True)
    finally:
        await log.close()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, the user may have no name
        return f"user {os.getuid()}"
