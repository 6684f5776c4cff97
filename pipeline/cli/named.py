"""Changes the subscriptions that a command names."""

import click

from pipeline.cli.changes import change_many, change_one
from pipeline.cli.filters import known_matching, standing
from pipeline.cli.outcomes import Action, Outcomes
from pipeline.cli.previews import preview_of_waiting
from pipeline.cli.selection import Selection
from pipeline.cluster.state import StateFilter
from pipeline.subscriptions.edits import Change, Edit, unless_well
from pipeline.subscriptions.store import SubscriptionStore


def change_named(action: Action, edit: Edit, selection: Selection) -> None:
    """Apply *edit* to each named subscription. Shows its waiting events, the change and the outcome."""
    if selection.dry_run:
        raise click.UsageError("--dry-run works only with --all or with a replay")
    outcomes = outcomes_of(action, selection)
    states = (outcomes.before or standing(selection.ids)) if edit.always else {}

    async def change(store: SubscriptionStore, name: str) -> Change:
        return await store.edit(name, unless_well(edit, is_well=name in states and states[name].is_well))

    if len(selection.ids) == 1:
        [name] = selection.ids
        preview = preview_of_waiting(name)
        change_one(lambda store: change(store, name), selection.output, preview=preview, outcomes=outcomes)
    else:
        change_many(selection.ids, change, selection.output, outcomes)
    outcomes.end()


def outcomes_of(action: Action, selection: Selection) -> Outcomes:
    """An object that waits for the outcome of a change of the named subscriptions. Reads their current states."""
    before = () if selection.wait is None else known_matching(StateFilter(ids=frozenset(selection.ids)))
    return Outcomes(action, selection.wait, selection.output, {each.id: each for each in before})
