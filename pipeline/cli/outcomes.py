"""Waits for the outcome of a change: the states of the subscriptions once workers have carried it out."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import click

from pipeline.cli.listing import waiting
from pipeline.cli.output import Format, as_table, say
from pipeline.cli.running import configured
from pipeline.cluster.session import opened_view
from pipeline.cluster.shown import shown_state
from pipeline.cluster.state import State, SubscriptionState
from pipeline.core.clock import shown_time
from pipeline.subscriptions.edits import Change

Action = Literal["pause", "replay", "resume", "start", "stop"]

RUNNING: Final[frozenset[State]] = frozenset({"behind", "live"})

DESIRED: Final[Mapping[Action, frozenset[State]]] = {
    "pause": frozenset({"paused"}),
    "stop": frozenset({"stopped", "paused"}),
    "replay": RUNNING,
    "resume": RUNNING,
    "start": RUNNING,
}
"""The intended state after each action."""

COLUMNS: Final = ("ID", "STATE", "WAITING", "WHY")


async def states_after(
    before: Mapping[str, SubscriptionState], action: Action, seconds: float
) -> Mapping[str, SubscriptionState | None]:
    """The states of subscriptions once workers have carried out *action*, or after *seconds*.

    Args:
        before: the states before the action, by id.
        action: the action.
        seconds: how long to wait.

    Returns:
        The states by id; None for a deleted subscription.

    Raises:
        BrokerError: the topics can't be read.
    """
    left = set(before)
    async with opened_view(*configured()) as view:
        version = 0
        try:
            async with asyncio.timeout(seconds):
                while left:
                    version = await view.changed(version)
                    left = {name for name in left if not is_settled(before[name], view.state(name), action)}
        except TimeoutError:
            say(not_reached([view.state(name) for name in left], len(before), seconds), err=True)
        return {name: view.state(name) for name in before}


def not_reached(left: Sequence[SubscriptionState | None], count: int, seconds: float) -> str:
    """A sentence about the subscriptions that are *left*, of *count*, in another state than intended. Pure."""
    text = f"{len(left)} of {count} subscriptions did not reach the intended state within {seconds:g} s"
    without = sum(each is not None and each.lacks_worker for each in left)
    return (
        f"{text}; {without} of them {'have' if without != 1 else 'has'} no worker: start workers" if without else text
    )


def is_settled(before: SubscriptionState, after: SubscriptionState | None, action: Action) -> bool:
    """Whether workers have carried out *action*, and the first result is known. Pure."""
    if after is None:
        return True
    lanes = {(lane.topic, lane.partition): lane for lane in before.lanes}
    states = {after.state, *(lane.state for lane in after.lanes)}
    if DESIRED[action] != RUNNING:
        return after.state in DESIRED[action] and states.isdisjoint({"retrying", *RUNNING})
    if after.begins_at is not None:
        return True
    if states & {"retrying", "paused", "stopped", "unowned"}:
        return False
    for lane in after.lanes:
        former = lanes.get((lane.topic, lane.partition))
        # A row that has not changed was written before the action.
        if lane.state == "failure" and former is not None and former.cause == lane.cause:
            return False
    return True


@dataclass(slots=True)
class Outcomes:
    """Waits for the outcome of an action if `seconds` is set.

    Attributes:
        seconds: how long to wait; None: do not wait.
        before: the states of the subscriptions before the action, by id.
        after: their states once `look` has returned; None for a deleted subscription.
    """

    action: Action
    seconds: float | None
    output: Format
    before: Mapping[str, SubscriptionState] = field(default_factory=dict)
    after: Mapping[str, SubscriptionState | None] = field(default_factory=dict)

    def look(self, changes: Sequence[Change]) -> dict[str, Any]:
        """Wait, and print a table unless the output is JSON. Returns the states as JSON, by id."""
        changed = {each.id: self.before[each.id] for each in changes if each.id in self.before}
        if self.seconds is None or not changed:
            return {}
        self.after = asyncio.run(states_after(changed, self.action, self.seconds))
        if self.output == "table":
            say(as_table(COLUMNS, [outcome_row(name, state) for name, state in self.after.items()]))
        return {name: None if state is None else shown_state(state) for name, state in self.after.items()}

    def end(self) -> None:
        """End the program with exit code 1 if a subscription is not in the intended state."""
        if any(each is not None and each.state not in DESIRED[self.action] for each in self.after.values()):
            click.get_current_context().exit(1)


def outcome_row(name: str, state: SubscriptionState | None) -> tuple[object, ...]:
    """The row of a subscription in the table of outcomes; its state is None if it was deleted. Pure."""
    if state is None:
        return name, "deleted", None, None
    why = state.cause.message if state.cause is not None else None if state.error is None else state.error.message
    if state.begins_at is not None:
        why = f"it begins at its startingAt, {shown_time(state.begins_at)}"
    elif state.ended_at is not None:
        why = f"it ended at its endingAt, {shown_time(state.ended_at)}"
    return name, state.state, waiting(state), state.problem or why
