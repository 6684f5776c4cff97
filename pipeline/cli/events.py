"""Options and arguments about events: body, record headers, source topic, times."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from pipeline.cli.output import say
from pipeline.core.clock import SystemClock, rfc3339
from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import shown
from pipeline.subscriptions.fields import TIMES, as_instant, instant

STDIN: Final = "-"


class Natural(click.IntRange):
    """A whole number that is not negative. *what* names it in errors, such as "an offset"."""

    def __init__(self, what: str) -> None:
        super().__init__(min=0)
        self._what = what

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{shown(value)} is not {self._what}; allowed: 0 or more", param, ctx)


OFFSET: Final = Natural("an offset")
PARTITION: Final = Natural("a partition")

Command = Callable[..., Any]

TOPIC_OPTION: Final = "--topic"
SINCE_OPTION: Final = "--since"


def header_option(command: Command) -> Command:
    """`-H NAME:VALUE`, passed to the command as *headers*; see `parse_header`."""
    return click.option(
        "-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="A record header; may be repeated."
    )(command)


def topic_option(command: Command) -> Command:
    """`--topic TOPIC`, passed to the command as *topic*; see `Definition.source_topic`."""
    return click.option(TOPIC_OPTION, metavar="TOPIC", help="The source topic; required if there are several.")(command)


def since_option(what: str) -> Callable[[Command], Command]:
    """`--since TIME`, passed to the command as *since*; see `read_since`. *what* is the beginning of its help."""
    return click.option(SINCE_OPTION, metavar="TIME", help=f"{what}: {TIMES}.")


def read_since(text: str) -> str:
    """The time in `--since` as ISO 8601. The result is printed if the user wrote another form.

    Raises:
        ConfigurationError: *text* is not a time, or is before 1970 or in the future.
    """
    try:
        found = as_instant(text, SystemClock().now())
        read = rfc3339(instant(found), "milliseconds" if "." in found else "seconds")
    except ValueError as error:
        raise ConfigurationError(f"{SINCE_OPTION}: {error}") from None
    if read != text:
        say(f"{SINCE_OPTION} {text}: since {read}", err=True)
    return found


def since_ms(text: str) -> int:
    """The time in `--since`, as Unix milliseconds. Prints and raises the same as `read_since`."""
    return int(instant(read_since(text)) * 1000)


def parse_header(text: str) -> tuple[str, bytes]:
    """Parse a record header in the form `NAME:VALUE`.

    Raises:
        ConfigurationError: the name or the colon is missing.
    """
    name, colon, value = text.partition(":")
    if not name or not colon:
        raise ConfigurationError(f"--header: {text!r} is not NAME:VALUE")
    return name, value.lstrip(" ").encode()


def read_bytes(path: str, argument: str) -> bytes:
    """The content of a file, or of standard input for `-`.

    Args:
        path: the path of the file.
        argument: the name of the argument on the command line, for errors.

    Raises:
        ConfigurationError: the file can't be read.
    """
    if path == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{argument}: {path} can't be read: {error.strerror}") from None
