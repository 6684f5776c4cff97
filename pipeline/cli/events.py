"""The events that people hand to a command, or name: a body from a file, record headers, a source topic."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.subscriptions.fields import instant

STDIN: Final = "-"

Command = Callable[..., Any]

TOPIC_OPTION: Final = "--topic"


def header_option(command: Command) -> Command:
    """`-H NAME:VALUE`, passed to the command as *headers*; see `parse_header`."""
    return click.option(
        "-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="A record header; may be repeated."
    )(command)


def topic_option(command: Command) -> Command:
    """`--topic TOPIC`, passed to the command as *topic*; see `Definition.source_topic`."""
    return click.option(TOPIC_OPTION, metavar="TOPIC", help="The source topic; required where there are several.")(
        command
    )


def since_ms(time: str) -> int:
    """Milliseconds since the Unix epoch of the RFC 3339 time that `--since` names.

    Raises:
        ConfigurationError: it is not one, or before 1970.
    """
    try:
        found = instant(time)
    except ValueError as error:
        raise ConfigurationError(f"--since: {error}") from None
    if found < 0:
        raise ConfigurationError(f"--since: {shown(time)} is before 1970")
    return int(found * 1000)


def parse_header(text: str) -> tuple[str, bytes]:
    """The record header that `NAME:VALUE` names.

    Raises:
        ConfigurationError: there is no name or no colon.
    """
    name, colon, value = text.partition(":")
    if not name or not colon:
        raise ConfigurationError(f"--header: {text!r} is not NAME:VALUE")
    return name, value.lstrip(" ").encode()


def read_bytes(path: str, argument: str) -> bytes:
    """The content of a file, or of standard input for `-`.

    Args:
        path: of the file.
        argument: its name on the command line, for the error.

    Raises:
        ConfigurationError: the file can't be read.
    """
    if path == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{argument}: {path} can't be read: {error.strerror}") from None
