"""Prints the output of commands: tables for people, JSON for programs, questions, progress."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import click
import yaml

from pipeline.core.errors import ConfigurationError
from pipeline.core.shown import safe

Format = Literal["table", "json"]

MANY: Final = 50
"""Progress is shown for this many steps or more."""

Command = Callable[..., Any]


def output_option(command: Command) -> Command:
    """`--output table|json` and its short form `--json`, passed to the command as *output*."""

    @wraps(command)
    def run(*arguments: Any, output: Format, is_json: bool, **options: Any) -> Any:
        return command(*arguments, output="json" if is_json else output, **options)

    option = click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="A table for people, JSON for programs.",
    )
    return option(click.option("--json", "is_json", is_flag=True, help="The same as --output json.")(run))


def as_json(value: object, *, indent: int | None = 2) -> str:
    """*value* as JSON: indented, or in one line."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return safe(text, keep="\n", escape=lambda each: json.dumps(each)[1:-1])


def as_yaml(value: object) -> str:
    """*value* as YAML that can be edited and read again. Texts with unprintable characters are escaped."""
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text if safe(text, keep="\n") == text else yaml.safe_dump(value, sort_keys=False)


def as_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table with columns as wide as necessary and two spaces between them. None is shown as `-`."""
    cells = [list(headers), *([printable(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def printable(value: object) -> str:
    """*value* as text for a terminal, without control characters. None is `-`."""
    return "-" if value is None else safe(str(value))


def ask(question: str) -> bool:
    """Ask on stderr, and read yes or no from stdin. Returns whether the answer is yes.

    Raises:
        Abort: the input has ended.
    """
    while True:
        # click.confirm writes a space to stdout, which must contain only the result.
        click.echo(f"{safe(question)} [y/N]: ", err=True, nl=False)  # noqa: TID251 - the text is escaped here
        answer = sys.stdin.readline()
        if not answer:
            raise click.Abort
        answer = answer.strip().lower()
        if answer in {"y", "yes"}:
            return True
        if answer in {"", "n", "no"}:
            return False


@contextmanager
def progress(label: str, total: int, *, is_shown: bool = True) -> Iterator[Callable[[int], None]]:
    """Show a progress bar if stderr is a terminal and there are many steps. Yields a function that counts steps."""
    hidden = not (is_shown and total >= MANY and sys.stderr.isatty())
    with click.progressbar(length=total, label=label, file=sys.stderr, hidden=hidden) as bar:
        yield bar.update


def say(text: str, *, err: bool = False) -> None:
    """Print *text*, which may have several lines, with control characters escaped. Raises the errors of `writing`."""
    with writing():
        click.echo(safe(text, keep="\n"), err=err)  # noqa: TID251 - the text is escaped here


@contextmanager
def writing() -> Iterator[None]:
    """Turn an error of standard output or standard error, such as a full disk, into an error of the command.

    Raises:
        ConfigurationError: the output can't be written.
        BrokenPipeError: the program that reads the output has ended; click then ends this program too.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigurationError(unwritable(error)) from None


def unwritable(error: OSError) -> str:
    """A sentence that the output can't be written, with the reason."""
    return f"the output can't be written: {error.strerror}"


def redraw(text: str) -> None:
    """Clear the terminal and show *text*, with control characters escaped. Raises the errors of `writing`."""
    with writing():
        click.echo(f"\x1b[H\x1b[J{safe(text, keep=chr(10))}")  # noqa: TID251 - the text is escaped here


def new_private_file(path: Path) -> TextIO:
    """Create a file and open it for writing. It has mode 0600 from the start, because it may contain secrets.

    Raises:
        OSError: the file exists or can't be created.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
