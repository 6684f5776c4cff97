"""`webhooks subscriptions apply`: creates, replaces and deletes subscriptions according to files."""

import sys
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from pipeline.cli.backups import backup_option, write_backup
from pipeline.cli.changes import confirm_deletion, sentence, shown, warn, with_store
from pipeline.cli.filters import metadata_option
from pipeline.cli.output import Format, as_json, output_option, progress, say
from pipeline.cli.running import configured
from pipeline.config.documents import parse_documents, read_documents
from pipeline.core.errors import BrokerError, ConfigurationError, WebhooksError
from pipeline.subscriptions.checks import Checked
from pipeline.subscriptions.differences import Difference, differences
from pipeline.subscriptions.edits import Change
from pipeline.subscriptions.routing_evidence import require_routing
from pipeline.subscriptions.store import SubscriptionStore


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The options of the command.

    Attributes:
        dry_run: only print what would be done.
        diff: print the fields that differ.
        among: delete the subscriptions that have these entries in their metadata and are not in the files; None: delete
            none.
        is_confirmed: do not ask before deleting.
        backup: the file to which changed subscriptions are saved; None: a new file if something is deleted.
    """

    dry_run: bool
    diff: bool
    among: Mapping[str, str] | None
    is_confirmed: bool
    backup: Path | None
    output: Format


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan: the documents with plain secrets, the change that each makes, and the ids to delete."""

    documents: list[object] = field(default_factory=list)
    checked: list[Checked] = field(default_factory=list)
    doomed: list[str] = field(default_factory=list)

    def differences(self) -> dict[str, list[Difference]]:
        """The differences of each changed subscription, by id."""
        changing = (each for each in self.checked if each.what != "unchanged")
        return {each.wanted.id: differences(each.wanted, each.stored) for each in changing}


@click.command("apply")
@click.option("-f", "--file", "files", multiple=True, metavar="FILE", help="File to apply; may be given several times.")
@click.argument("more", nargs=-1, metavar="FILE...")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and change nothing.")
@click.option("--diff", is_flag=True, help="Print the fields that differ. Values of secrets are not printed.")
@click.option(
    "--prune", is_flag=True, help="Delete subscriptions that are not in the files; needs --metadata or --all."
)
@metadata_option
@click.option("--all", "is_all", is_flag=True, help="With --prune: select all subscriptions.")
@click.option("-y", "--yes", is_flag=True, help="With --prune: do not ask for confirmation.")
@backup_option
@output_option
def command(
    *,
    files: tuple[str, ...],
    more: tuple[str, ...],
    dry_run: bool,
    diff: bool,
    prune: bool,
    metadata: dict[str, str],
    is_all: bool,
    yes: bool,
    backup: Path | None,
    output: Format,
) -> None:
    """Create or replace the subscriptions in YAML or JSON files, each with one or several documents or a list.

    Use - for standard input. Unchanged subscriptions are not written. A masked secret keeps its stored value. If one of
    the subscriptions can't be used, none is written.

    With --prune, subscriptions that are not in the files are deleted: either all of them, or those with certain
    metadata. They are listed before anything is deleted. The previous state of all changed or deleted subscriptions is
    saved to a file; apply that file to undo the command.
    """
    if not files and not more:
        raise click.UsageError("name a file, or - for standard input")
    if prune == (not metadata and not is_all) or (metadata and is_all):
        raise click.UsageError("--prune needs either --metadata NAME=VALUE or --all, and these two need --prune")
    wanted = _Wanted(dry_run, diff, metadata if prune else None, yes, backup, output)
    documents = list(_documents((*files, *more)))
    if prune and not dry_run and not yes and "-" in {*files, *more}:
        raise click.UsageError("--prune asks on standard input, which contains the documents: use --yes")
    plan, done = _Plan(), list[Change]()
    with_store(lambda store: _apply(store, wanted, documents, plan, done))
    if output == "json":
        say(as_json(_as_documents(wanted, plan, done)))


async def _apply(
    store: SubscriptionStore,
    wanted: _Wanted,
    documents: Sequence[tuple[str, object]],
    plan: _Plan,
    done: list[Change],
) -> None:
    await require_routing(*configured())
    await _check_all(store, documents, plan)
    if wanted.among is not None:
        plan.doomed.extend(await _unnamed(store, {each.wanted.id for each in plan.checked}, wanted.among))
    _show(wanted, plan)
    if wanted.dry_run:
        return
    if plan.doomed and not wanted.is_confirmed:
        count = len(plan.doomed)
        confirm_deletion(f"{count} subscription{' that is' if count == 1 else 's that are'} not in the files")
    if plan.doomed or wanted.backup is not None:
        changing = [each.wanted.id for each in plan.checked if each.what == "updated"]
        await write_backup(store, [*changing, *plan.doomed], "apply", wanted.backup)
    await _write(store, wanted, plan, done)


async def _write(store: SubscriptionStore, wanted: _Wanted, plan: _Plan, done: list[Change]) -> None:
    """Make the changes of the plan, and add each one to *done*.

    Raises:
        BrokerError: a change could not be made. The message names the changes that were made.
    """
    # On a terminal, the printed sentences already show progress.
    is_silent = wanted.output == "json" or not sys.stdout.isatty()
    count = len(plan.documents) + len(plan.doomed)
    try:
        with progress("writing", count, is_shown=is_silent) as step:
            async for change in _changes(store, plan):
                done.append(change)
                step(1)
                if wanted.output == "table":
                    say(sentence(change))
    except WebhooksError as error:
        written = ", ".join(each.id for each in done) or "none"
        raise BrokerError(f"{error}\nwritten before that: {len(done)} of {count}: {written}") from error
    finally:
        for change in done:
            warn(change.id, change.advisory)


async def _check_all(store: SubscriptionStore, documents: Sequence[tuple[str, object]], plan: _Plan) -> None:
    """Find all mistakes before anything is written. Returns the changes that the documents make.

    Raises:
        ConfigurationError: there are mistakes.
    """
    problems: list[str] = []
    with progress("checking", len(documents)) as step:
        for location, document in documents:
            try:
                plan.documents.append(store.opened(document))
                plan.checked.append(await store.check(plan.documents[-1]))
            except ConfigurationError as error:
                problems.extend(f"{location}: {problem}" for problem in error.problems)
            step(1)
    if problems:
        raise ConfigurationError([*problems, f"none of the {len(documents)} subscriptions was written"])


async def _unnamed(store: SubscriptionStore, named: Collection[str], among: Mapping[str, str]) -> list[str]:
    """The ids of the subscriptions that have these entries in their metadata and are in no file."""
    return [
        document["id"]
        for document in await store.list()
        if document["id"] not in named and among.items() <= (document.get("metadata") or {}).items()
    ]


async def _changes(store: SubscriptionStore, plan: _Plan) -> AsyncIterator[Change]:
    async for change in store.apply_all(plan.documents):
        yield change
    for name in plan.doomed:
        yield await store.delete(name)


def _show(wanted: _Wanted, plan: _Plan) -> None:
    """With --dry-run or --diff, print what would be done. Always print what will be deleted."""
    is_table = wanted.output == "table"
    if is_table and (wanted.dry_run or wanted.diff):
        found = plan.differences() if wanted.diff else {}
        for each in plan.checked:
            name = each.wanted.id
            say(f"{name} would be {each.what}" if each.what != "unchanged" else f"{name} would stay unchanged")
            for difference in found.get(name, ()):
                say(f"  {difference}")
    if wanted.dry_run:
        for each in plan.checked:
            warn(each.wanted.id, each.advisory)
    for name in plan.doomed if is_table or not wanted.is_confirmed else ():
        say(f"{name} would be deleted", err=not wanted.dry_run)


def _as_documents(wanted: _Wanted, plan: _Plan, done: Sequence[Change]) -> list[dict[str, Any]]:
    if wanted.dry_run:
        found: list[dict[str, Any]] = [{"id": each.wanted.id, "result": each.what} for each in plan.checked]
        found += ({"id": name, "result": "deleted"} for name in plan.doomed)
        found = [{**each, "dryRun": True} for each in found]
    else:
        found = [shown(change) for change in done]
    if wanted.diff:
        differing = plan.differences()
        found = [{**each, "differences": [str(one) for one in differing.get(each["id"], ())]} for each in found]
    return found


def _documents(files: Iterable[str]) -> Iterable[tuple[str, object]]:
    """The subscriptions in the files, each with its file and position, for errors."""
    for name in files:
        found = parse_documents(sys.stdin.read(), "stdin") if name == "-" else read_documents(Path(name))
        documents = [each for document in found for each in (document if isinstance(document, list) else [document])]
        if not documents:
            raise ConfigurationError(f"{name}: contains no subscription")
        for number, document in enumerate(documents, 1):
            yield f"{name}: {_name(document, number)}", document


def _name(document: object, number: int) -> str:
    identity = document.get("id") if isinstance(document, dict) else None
    return identity if isinstance(identity, str) else f"document {number}"
