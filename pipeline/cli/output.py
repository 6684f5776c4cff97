"""What commands print: tables for people, JSON for programs. Pure."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import click

Format = Literal["table", "json"]

Command = Callable[..., Any]


def output_option(command: Command) -> Command:
    """`--output table|json`; the command gets it as *output*."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="For people or for programs.",
    )(command)


def as_json(value: object) -> str:
    """*value* on several lines, as a program or a person may read it."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def as_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they have to be, two blanks between them; None is shown as `-`."""
    cells = [list(headers), *([printable(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def printable(value: object) -> str:
    """*value* as text that can't move a terminal's cursor, whoever wrote it."""
    text = "-" if value is None else str(value)
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
