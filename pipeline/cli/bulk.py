"""Changes all subscriptions that match a filter, after a preview, a question and a backup, and shows the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from pipeline.cli.backups import write_backup
from pipeline.cli.changes import sentence, warn, with_store
from pipeline.cli.filters import known_matching
from pipeline.cli.outcomes import Action, Outcomes
from pipeline.cli.output import MANY, as_json, ask, progress, say
from pipeline.cli.selection import Selection
from pipeline.cluster.state import EVERY_STATE, SubscriptionState
from pipeline.core.errors import WebhooksError
from pipeline.subscriptions.edits import Change, Edit, unless_well
from pipeline.subscriptions.store import SubscriptionStore

TOGETHER: Final = 500
"""The number of concurrent writes. Progress is shown after this many writes."""
NAMED: Final = 5
"""How many ids a question names."""


@dataclass(frozen=True, slots=True)
class _Done:
    """The result: the changes, why subscriptions could not be changed, and the name of the backup."""

    changes: list[Change] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    backup: list[str] = field(default_factory=list)

    def take(self, name: str, result: Change | WebhooksError) -> None:
        """Add the result of one subscription."""
        if isinstance(result, WebhooksError):
            self.problems[name] = str(result)
        else:
            self.changes.append(result)


def change_matching(action: Action, edit: Edit, selection: Selection) -> None:
    """Apply *edit* to all subscriptions that match, and print the result.

    Ends the program with exit code 1 if a subscription could not be changed or, with `--wait`, is not in the intended
    state.
    """
    found = _found(action, selection)
    if selection.output == "table" or not (selection.is_confirmed or selection.dry_run):
        say(_preview(action, found), err=True)
    done = _Done()
    if found and not selection.dry_run:
        if not (selection.is_confirmed or ask(f"{action} {_number(len(found))}?")):
            raise click.Abort
        # A replay is written even if the subscription is well; a resume is not.
        edits = {name: unless_well(edit, is_well=state.is_well and action != "replay") for name, state in found.items()}
        with_store(lambda store: _change(store, action, edits, selection.backup, done))
    updated = {each.id: each.revision for each in done.changes if each.what != "unchanged"}
    unchanged = len(done.changes) - len(updated)
    if selection.output == "table" and not selection.dry_run:
        _say_done(done, len(updated), unchanged)
    _warn_of_idle([each for each in done.changes if each.advisory is not None])
    outcomes = Outcomes(action, selection.wait, selection.output, found)
    after = outcomes.look([each for each in done.changes if each.what != "unchanged"])
    if selection.output == "json":
        counts = [state.waiting_at_most for state in found.values()]
        document = {
            "matched": len(found),
            "changed": len(updated),
            "unchanged": unchanged,
            "problems": [{"id": name, "problem": text} for name, text in done.problems.items()],
            "ids": [*found],
            "revisions": updated,
            "waitingAtMost": None if None in counts else sum(filter(None, counts)),
            "dryRun": selection.dry_run,
            "backup": next(iter(done.backup), None),
        }
        say(as_json(document if selection.wait is None else {**document, "after": after}))
    if done.problems:
        click.get_current_context().exit(1)
    outcomes.end()


def _say_done(done: _Done, updated: int, unchanged: int) -> None:
    for each in done.changes if len(done.changes) <= MANY else ():
        say(sentence(each))
    for name, problem in done.problems.items():
        say(f"{name}: {problem}", err=True)
    impossible = f", {len(done.problems)} could not be changed" if done.problems else ""
    say(f"{updated} changed, {unchanged} unchanged{impossible}")


def _warn_of_idle(idle: Sequence[Change]) -> None:
    """Print why subscriptions that were changed still deliver nothing."""
    for each in idle[:MANY]:
        warn(each.id, each.advisory)
    if len(idle) > MANY:
        say(f"{len(idle) - MANY} more subscriptions deliver nothing", err=True)


def _found(action: Action, selection: Selection) -> Mapping[str, SubscriptionState]:
    """The states of the subscriptions to change, by id.

    Closed subscriptions can't be changed. Without a filter, a resume or a start applies only to subscriptions in
    FAILURE, because paused or stopped ones were halted on purpose.
    """
    wanted = selection.wanted or EVERY_STATE
    found = [each for each in known_matching(wanted) if each.state != "closed"]
    if action in {"resume", "start"} and wanted == EVERY_STATE:
        found = [each for each in found if each.has_failed]
    return {each.id: each for each in found}


def _preview(action: Action, found: Mapping[str, SubscriptionState]) -> str:
    if not found:
        return "no subscription matches"
    names, counts = [*found], [state.waiting_at_most for state in found.values()]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    known = [count for count in counts if count is not None]
    unknown = f"; for {len(counts) - len(known)} of them, this number is unknown" if len(known) < len(counts) else ""
    waiting = f"up to {sum(known):,} events wait for them{unknown}"
    return f"{action} {_number(len(names))}: {', '.join(names[:NAMED])}{more}; {waiting}"


def _number(count: int) -> str:
    return "1 subscription" if count == 1 else f"{count:,} subscriptions"


async def _change(
    store: SubscriptionStore, action: Action, edits: Mapping[str, Edit], backup: Path | None, done: _Done
) -> None:
    """Write the backup, then the changes."""
    where = await write_backup(store, edits, action, backup)
    if where is not None:
        done.backup.append(str(where))
    names = [*edits]
    with progress(action, len(names)) as step:
        for start in range(0, len(names), TOGETHER):
            batch = names[start : start + TOGETHER]
            await store.edit_all({name: edits[name] for name in batch}, done.take)
            step(len(batch))
