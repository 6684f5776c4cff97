"""Saves subscriptions to a file before a command changes many of them. Applying the file undoes the change."""

import json
import time
from collections.abc import Iterable, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

import click

from pipeline.cli.output import Command, new_private_file, say
from pipeline.cli.running import configured
from pipeline.core.errors import ConfigurationError
from pipeline.subscriptions.store import SubscriptionStore

FOLDER: Final = "backups"
OPTION: Final = "--backup"


def backup_option(command: Command) -> Command:
    """`--backup FILE`, passed to the command as *backup*; None without the option (see `write_backup`)."""
    return click.option(
        OPTION,
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Where to save the subscriptions before the change; by default, a new file in WEBHOOKS_DATA_DIR/backups.",
    )(command)


async def write_backup(store: SubscriptionStore, ids: Iterable[str], action: str, path: Path | None) -> Path | None:
    """Write the current subscriptions to a new file for `apply`, and print its name.

    Secrets stay encrypted. Records that can't be read are left out and printed.

    Args:
        store: reads the subscriptions.
        ids: the ids of the subscriptions; ids that do not exist are ignored.
        action: a part of the name of a new file.
        path: the path of the file; None: a new file in the directory for local state.

    Returns:
        The path of the file; None if there is nothing to write.

    Raises:
        ConfigurationError: the file exists or can't be written.
    """
    documents, problems = store.stored(ids)
    for problem in problems:
        say(f"not in the backup: {problem}", err=True)
    if not documents:
        return None
    where = path or unused_path(configured()[0].data_dir / FOLDER, time.time(), action)
    _write(where, documents)
    say(f"backup before the change: {where}; to undo: webhooks subscriptions apply {where}", err=True)
    return where


def unused_path(folder: Path, now: float, action: str) -> Path:
    """An unused path with a name from *now* (Unix seconds) and the action, and a number if the name is taken."""
    stem = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}-{action}"
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    return next(path for name in names if not (path := folder / f"{name}.json").exists())


def _write(path: Path, documents: Sequence[dict[str, Any]]) -> None:
    text = json.dumps(documents, indent=1, ensure_ascii=False)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with new_private_file(path) as file:
            file.write(text + "\n")
    except OSError as error:
        raise ConfigurationError(f"{OPTION}: {path} can't be written: {error.strerror}; nothing was changed") from None
