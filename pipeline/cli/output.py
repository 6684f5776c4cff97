"""The output of commands: tables for people, JSON for programs. Pure."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import click
import yaml

from pipeline.core.shown import safe

Format = Literal["table", "json"]

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


def say(text: str, *, err: bool = False) -> None:
    """Print *text*, of one or several lines, with control characters escaped."""
    click.echo(safe(text, keep="\n"), err=err)  # noqa: TID251 - the text is escaped here
