"""`webhooks backup`: saves the application's state to one file."""

import asyncio
import errno
import os
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import click

from pipeline.cli.output import new_private_file, say, writing
from pipeline.cli.running import configured
from pipeline.cluster.backup import as_lines
from pipeline.core.clock import SystemClock, rfc3339
from pipeline.core.errors import ConfigurationError
from pipeline.kafka.kept_state import read_state


@click.command("backup")
@click.argument("file", metavar="FILE")
def command(*, file: str) -> None:
    """Write subscriptions, cursor rows and committed offsets to FILE.

    Use - for standard output. Workers may be running. Secrets stay encrypted, so keep WEBHOOKS_SECRET_KEYS too, in
    another place. Callback URLs and filters are not encrypted; only you can read the file (mode 600).
    `webhooks restore` restores a backup.
    """
    settings, definition = configured()
    state = asyncio.run(read_state(definition.source, settings.app))
    made_at = str(rfc3339(SystemClock().now()))
    lines = as_lines(state, app=settings.app, made_at=made_at, program=version("webhook-pipeline"))
    if file == "-":
        with writing():
            sys.stdout.writelines(f"{line}\n" for line in lines)
            sys.stdout.flush()
    else:
        _write(Path(file), lines)
    rows, commits = len(state.rows), len(state.commits)
    say(f"{len(state.subscriptions)} subscriptions, {rows} cursor rows, {commits} committed offsets", err=True)


def _write(path: Path, lines: Iterable[str]) -> None:
    """Write a complete file, then rename it to *path*. Raises: ConfigurationError, if it can't be written."""
    try:
        if path.is_dir():  # such a path may have no name to which `.part` could be added
            raise ConfigurationError(f"{path}: can't be written: {os.strerror(errno.EISDIR)}")
        if path.exists() and not path.is_file():  # renaming would replace a device such as /dev/stdout for all programs
            allowed = "a regular file, or - for standard output"
            raise ConfigurationError(f"{path}: is not a regular file; allowed: {allowed}")
        part = path.with_name(f"{path.name}.part")
        part.unlink(missing_ok=True)
        with new_private_file(part) as opened:
            opened.writelines(f"{line}\n" for line in lines)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be written: {error.strerror}") from error
