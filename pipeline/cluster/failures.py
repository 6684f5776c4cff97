"""Groups subscriptions that fail for the same reason: an outage of one receiver is one line, however many there are.

Groups are kept up to date subscription by subscription, because to look at a hundred thousand of them takes longer than
somebody should wait for a page.
"""

import heapq
from collections.abc import Iterable
from typing import Final

from pipeline.cluster.joining import Reason
from pipeline.cluster.state import FailureGroup, State

MOST_IDS: Final = 100
FAILING: Final[frozenset[State]] = frozenset({"broken", "failure", "retrying"})

Key = tuple[State, str, str, str]
"""State, kind, message and host of a group."""


class Group:
    """Those that fail for one reason.

    Attributes:
        key: what they have in common.
        members: by id, why each of them fails.
    """

    __slots__ = ("_shown", "key", "members")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.members: dict[str, Reason] = {}
        self._shown: FailureGroup | None = None

    def add(self, name: str, reason: Reason) -> None:
        """One fails for this reason."""
        self.members[name] = reason
        self._shown = None

    def remove(self, name: str) -> None:
        """One does not any more."""
        del self.members[name]
        self._shown = None

    def shown(self, without: frozenset[str] = frozenset()) -> FailureGroup | None:
        """As it is shown, without some of its members; None if there is no other one."""
        if not without.isdisjoint(self.members):
            return _group(self.key, {name: why for name, why in self.members.items() if name not in without})
        if self._shown is None:
            self._shown = _group(self.key, self.members)
        return self._shown


def _group(key: Key, members: dict[str, Reason]) -> FailureGroup | None:
    if not members:
        return None
    first = tuple(heapq.nsmallest(MOST_IDS, members))
    since = min((reason.since for reason in members.values() if reason.since is not None), default=None)
    return FailureGroup(*key, members[first[0]].example, len(members), since, first)


class FailureGroups:
    """All groups."""

    def __init__(self) -> None:
        self._groups: dict[Key, Group] = {}
        self._group_of: dict[str, Group] = {}

    def add(self, name: str, host: str, reason: Reason) -> None:
        """A subscription fails, whether or not it did before."""
        key = (reason.state, reason.kind, reason.message, host)
        former = self._group_of.get(name)
        if former is not None and former.key != key:
            self.remove(name)
        group = self._group_of[name] = self._groups.setdefault(key, Group(key))
        group.add(name, reason)

    def remove(self, name: str) -> None:
        """A subscription does not fail, if it did."""
        group = self._group_of.pop(name, None)
        if group is not None:
            group.remove(name)
            if not group.members:
                del self._groups[group.key]

    def groups(self) -> list[Group]:
        """All of them; some may come to be empty while they are looked at."""
        return list(self._groups.values())

    def names(self, state: State) -> list[str]:
        """Those that stand like this."""
        return [name for key, group in self._groups.items() if key[0] == state for name in group.members]


def largest_first(groups: Iterable[FailureGroup | None]) -> list[FailureGroup]:
    """The groups that are not None, in the order in which they are shown."""
    found = [group for group in groups if group is not None]
    return sorted(found, key=lambda group: (-group.count, group.state, group.kind, group.message, group.host))
