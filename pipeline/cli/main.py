"""Finds and runs the command. The pipeline's own commands load neither Faust nor the application, to start fast."""

import os
import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Final

import click

from pipeline.cli.command_group import PROGRAM, CommandGroup
from pipeline.cli.output import unwritable

OWN: Final[Mapping[str, str]] = {
    "attempts": "pipeline.cli.attempts",
    "backup": "pipeline.cli.backup",
    "check": "pipeline.cli.check",
    "cluster": "pipeline.cli.supervisor.command",
    "completion": "pipeline.cli.completion",
    "console": "pipeline.cli.console.command",
    "dev": "pipeline.cli.dev.command",
    "dlq": "pipeline.cli.dlq",
    "event": "pipeline.cli.event",
    "explain": "pipeline.cli.explain",
    "export-positions": "pipeline.cli.export_positions",
    "import-gravitee": "pipeline.cli.import_gravitee",
    "match": "pipeline.cli.match",
    "restore": "pipeline.cli.restore",
    "send": "pipeline.cli.send",
    "subscriptions": "pipeline.cli.subscriptions",
    "tail": "pipeline.cli.tail",
    "top": "pipeline.cli.top",
}
"""Each command, and the module that defines it as `command`."""

_VERSION: Final = "--version"


def main() -> None:
    """Run the program, and end the process."""
    first = sys.argv[1] if len(sys.argv) > 1 else ""
    # For completions, a shell passes the words in the environment instead of the arguments.
    try:
        group = _only(first) if first in {*OWN, _VERSION} else whole_group()
    except KeyboardInterrupt:  # while modules are loaded; afterwards, click ends the program in the same way
        sys.exit("Aborted!")
    try:
        _run(group)
    except SystemExit as end:
        if end.code:
            _discard_unwritable()
        raise


def _run(group: click.Group) -> None:
    try:
        group.main(prog_name=PROGRAM)
    except OSError as error:
        # Help, version and completions are printed by click itself, outside of `writing`.
        *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
        if innermost.f_code is not click.echo.__code__:  # noqa: TID251 - nothing is printed here
            raise
        sys.exit(f"Error: {unwritable(error)}")


def _discard_unwritable() -> None:
    """Discard output that can't be written. Otherwise the interpreter would report it again, and exit with 120."""
    if sys.stdout is None:  # the program was started without a standard output
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def whole_group() -> click.Group:
    """All commands: Faust's and the pipeline's own."""
    module = import_module("pipeline.cli.faust_commands")
    group: click.Group = module.with_faust_commands({name: _own(name) for name in OWN})
    _summarize(group)
    return _with_version(group)


def _only(first: str) -> click.Group:
    """A group that has only the command that is run, or no command for --version."""
    group = CommandGroup(PROGRAM, {first: _own(first)} if first in OWN else {})
    group.known = OWN
    return _with_version(group)


def _with_version(group: click.Group) -> click.Group:
    return click.version_option(version("webhook-pipeline"), _VERSION, prog_name=PROGRAM)(group)


def _own(name: str) -> click.Command:
    command: click.Command = import_module(OWN[name]).command
    _summarize(command)
    return command


def _summarize(command: click.Command) -> None:
    """List each command with its whole first sentence; click would cut it at 45 characters."""
    if command.short_help is None and command.help is not None:
        command.short_help = _first_sentence(command.help)
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _summarize(each)


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n", 1)[0].split())
    return paragraph.split(". ", 1)[0].rstrip(".") + "."
