"""The output of commands: tables for people, JSON for programs; and their questions."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import click
import yaml

from pipeline.core.shown import safe

Format = Literal["table", "json"]

MANY: Final = 50
"""So many steps take long enough to show that they go on."""

Command = Callable[..., Any]


def output_option(command: Command) -> Command:
    """`--output table|json`, passed to the command as *output*."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="For people or for programs.",
    )(command)


def as_json(value: object) -> str:
    """*value* as indented JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return safe(text, keep="\n", escape=lambda each: json.dumps(each)[1:-1])


def as_yaml(value: object) -> str:
    """*value* as YAML that can be edited and read again; texts with unprintable characters are escaped."""
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    return text if safe(text, keep="\n") == text else yaml.safe_dump(value, sort_keys=False)


def as_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as necessary, two spaces between them; None is shown as `-`."""
    cells = [list(headers), *([printable(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def printable(value: object) -> str:
    """*value* as text that a terminal shows without interpreting it; None is `-`."""
    return "-" if value is None else safe(str(value))


def ask(question: str) -> bool:
    """Ask on stderr and read the answer from stdin: yes or no.

    Raises:
        Abort: there is no answer.
    """
    while True:
        # click.confirm leaves a blank on stdout, which belongs to the result.
        click.echo(f"{safe(question)} [y/N]: ", err=True, nl=False)  # noqa: TID251 - here it is escaped
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
    """A bar on stderr, if that is a terminal and there is something to wait for; call what it gives with each step."""
    hidden = not (is_shown and total >= MANY and sys.stderr.isatty())
    with click.progressbar(length=total, label=label, file=sys.stderr, hidden=hidden) as bar:
        yield bar.update


def say(text: str, *, err: bool = False) -> None:
    """Print *text*, of one or several lines, with control characters escaped."""
    click.echo(safe(text, keep="\n"), err=err)  # noqa: TID251 - the text is escaped here
