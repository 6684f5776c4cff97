"""Groups subscriptions that fail for the same reason: an outage of one receiver is one group.

The groups are updated with each change of a subscription, because computing them for each page from a hundred thousand
subscriptions takes too long.
"""

import asyncio
import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.cluster.joining import FailureReason
from pipeline.cluster.state import FailureGroup, State, SubscriptionState

MOST_IDS: Final = 100
MOST_COUNTED: Final = 500
"""The largest number of subscriptions whose waiting events are added up. Adding up more would delay deliveries."""

Key = tuple[State, str, str, str]
"""State, kind, message and host, which all members of a group have in common."""


class Group:
    """The subscriptions that fail for one reason.

    Attributes:
        key: what the members have in common.
        members: why each member fails, by id.
    """

    __slots__ = ("_shown", "key", "members")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.members: dict[str, FailureReason] = {}
        self._shown: FailureGroup | None = None

    def add(self, name: str, reason: FailureReason) -> None:
        """Add a subscription that fails for this reason."""
        self.members[name] = reason
        self._shown = None

    def remove(self, name: str) -> None:
        """Remove a subscription."""
        del self.members[name]
        self._shown = None

    def shown(self, without: frozenset[str] = frozenset()) -> FailureGroup | None:
        """The group as it is shown, without the excluded members; None if no member is left."""
        if not without.isdisjoint(self.members):
            return _group(self.key, {name: why for name, why in self.members.items() if name not in without})
        if self._shown is None:
            self._shown = _group(self.key, self.members)
        return self._shown


def _group(key: Key, members: dict[str, FailureReason]) -> FailureGroup | None:
    if not members:
        return None
    first = tuple(heapq.nsmallest(MOST_IDS, members))
    since = min((reason.since for reason in members.values() if reason.since is not None), default=None)
    example = members[first[0]].example
    if all(reason.example == example for reason in members.values()):
        state, kind, _, host = key
        key = (state, kind, example, host)
    return FailureGroup(*key, example, len(members), since, first)


class FailureGroups:
    """All groups."""

    def __init__(self) -> None:
        self._groups: dict[Key, Group] = {}
        self._group_of: dict[str, Group] = {}

    def add(self, name: str, host: str, reason: FailureReason) -> None:
        """Add or move a subscription that fails."""
        key = (reason.state, reason.kind, reason.message, host)
        former = self._group_of.get(name)
        if former is not None and former.key != key:
            self.remove(name)
        group = self._group_of[name] = self._groups.setdefault(key, Group(key))
        group.add(name, reason)

    def remove(self, name: str) -> None:
        """Remove a subscription that does not fail; it need not be in a group."""
        group = self._group_of.pop(name, None)
        if group is not None:
            group.remove(name)
            if not group.members:
                del self._groups[group.key]

    def groups(self) -> list[Group]:
        """All groups; some may become empty during the iteration."""
        return list(self._groups.values())

    def names(self, *states: State) -> list[str]:
        """The ids of the subscriptions that are in one of these states."""
        return [name for key, group in self._groups.items() if key[0] in states for name in group.members]


def largest_first(groups: Iterable[FailureGroup | None]) -> list[FailureGroup]:
    """The groups sorted by size, largest first; values of None are left out."""
    found = [group for group in groups if group is not None]
    return sorted(found, key=lambda group: (-group.count, group.state, group.kind, group.message, group.host))


@dataclass(slots=True)
class _Waiting:
    """Adds up the waiting events of several subscriptions; None if a number is unknown."""

    at_least: int = 0
    exactly: int | None = 0
    at_most: int | None = 0
    oldest_at: float | None = None

    def add(self, state: SubscriptionState) -> None:
        """Add one subscription."""
        self.at_least += sum(lane.waiting or 0 for lane in state.lanes)
        self.exactly = _plus(self.exactly, state.waiting)
        self.at_most = _plus(self.at_most, state.waiting_at_most)
        if state.oldest_waiting_at is not None:
            self.oldest_at = min(self.oldest_at or state.oldest_waiting_at, state.oldest_waiting_at)


def _plus(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


async def with_waiting(
    groups: Sequence[FailureGroup], state_of: Callable[[str], SubscriptionState | None]
) -> list[FailureGroup]:
    """The groups with their numbers of waiting events, from the first `MOST_COUNTED` subscriptions.

    Args:
        groups: the groups, largest first.
        state_of: returns the state of a subscription; None if it was deleted.
    """
    found, left = [], MOST_COUNTED
    for group in groups:
        asked, waiting = group.ids[:left], _Waiting()
        left -= len(asked)
        for name in asked:
            state = state_of(name)
            if state is not None:
                waiting.add(state)
        has_all = len(asked) == group.count
        found.append(
            replace(
                group,
                waiting=waiting.exactly if has_all else None,
                waiting_at_least=waiting.at_least,
                waiting_at_most=waiting.at_most if has_all else None,
                oldest_waiting_at=waiting.oldest_at,
            )
        )
        if asked:
            await asyncio.sleep(0)
    return found
