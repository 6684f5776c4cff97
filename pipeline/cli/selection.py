"""The options of commands that change subscriptions, either named ones or all that match."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from pipeline.cli.backups import backup_option
from pipeline.cli.filters import as_filter, filter_options
from pipeline.cli.output import Command, Format, output_option
from pipeline.cluster.state import StateFilter

WAIT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Selection:
    """The options that say which subscriptions a command changes, and how it changes them.

    Attributes:
        ids: the ids of the named subscriptions, without repetitions.
        wanted: change all subscriptions that match this filter; None: change the named ones.
        dry_run: only print what would be done.
        is_confirmed: do not ask for confirmation.
        wait: how many seconds to wait for the outcome; None: do not wait.
        backup: the file to which changed subscriptions are saved; None: a new file.
    """

    ids: tuple[str, ...]
    wanted: StateFilter | None
    dry_run: bool
    is_confirmed: bool
    wait: float | None
    backup: Path | None
    output: Format


def selected(command: Callable[..., None]) -> Command:
    """Add the options that select subscriptions to *command*, which gets them as *selection*."""

    @wraps(command)
    def run(
        *,
        subscriptions: tuple[str, ...],
        is_all: bool,
        states: tuple[str, ...],
        causes: tuple[str, ...],
        host: str | None,
        metadata: dict[str, str],
        dry_run: bool,
        yes: bool,
        wait: bool,
        wait_seconds: float,
        backup: Path | None,
        output: Format,
        **more: Any,
    ) -> None:
        if bool(subscriptions) == is_all:
            raise click.UsageError("name subscriptions, or use --all")
        wanted = as_filter(states, causes, host, metadata)
        if not is_all and (wanted != StateFilter() or backup is not None):
            raise click.UsageError("--state, --cause, --host, --metadata and --backup need --all")
        ids = tuple(dict.fromkeys(subscriptions))
        chosen = Selection(
            ids, wanted if is_all else None, dry_run, yes, wait_seconds if wait else None, backup, output
        )
        command(selection=chosen, **more)

    options = (
        click.argument("subscriptions", metavar="[ID]...", nargs=-1),
        click.option("--all", "is_all", is_flag=True, help="Change all subscriptions that match the filters below."),
        filter_options,
        click.option(
            "--dry-run",
            is_flag=True,
            help="Print what would be done, and change nothing; only with --all or for a replay.",
        ),
        click.option("-y", "--yes", is_flag=True, help="With --all: do not ask for confirmation."),
        backup_option,
        click.option("--wait", is_flag=True, help="Wait until workers have made the change, and show the states."),
        click.option(
            "--wait-seconds",
            type=click.FloatRange(min=0, max=3600),
            default=WAIT_SECONDS,
            show_default=True,
            metavar="N",
            help="The longest time that --wait waits, in seconds.",
        ),
        output_option,
    )
    with_options: Command = run
    for option in reversed(options):
        with_options = option(with_options)
    return with_options
