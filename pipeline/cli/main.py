"""Finds the command. Our own load neither Faust nor the application, so they answer at once."""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

PROGRAM: Final = "webhooks"

OWN: Final[Mapping[str, str]] = {
    "check": "pipeline.cli.check",
    "dev": "pipeline.cli.dev.command",
    "dlq": "pipeline.cli.dlq",
    "send": "pipeline.cli.send",
    "subscriptions": "pipeline.cli.subscriptions",
}
"""Each command, and the module whose `command` it is."""


def main() -> None:
    """The program; ends the process."""
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    group = click.Group(PROGRAM, {first: _own(first)}) if first in OWN else whole_group()
    group.main(prog_name=PROGRAM)


def whole_group() -> click.Group:
    """All commands: Faust's and our own."""
    module = import_module("pipeline.cli.faust_commands")
    group: click.Group = module.with_faust_commands({name: _own(name) for name in OWN})
    return group


def _own(name: str) -> click.Command:
    command: click.Command = import_module(OWN[name]).command
    return command
