"""Groups subscriptions that fail for the same reason: an outage of one receiver is one line, however many there are."""

import heapq
from dataclasses import dataclass, field
from typing import Final

from pipeline.cluster.joining import Reason
from pipeline.cluster.state import FailureGroup, State

MOST_IDS: Final = 100
FAILING: Final[frozenset[State]] = frozenset({"broken", "failure", "retrying"})


@dataclass(slots=True)
class _Group:
    example: str
    since: float | None = None
    names: list[str] = field(default_factory=list)


class FailureGroups:
    """The groups, while subscriptions are added to them."""

    def __init__(self) -> None:
        self._found: dict[tuple[State, str, str, str], _Group] = {}

    def add(self, name: str, host: str, reason: Reason) -> None:
        """A subscription fails."""
        key = (reason.state, reason.kind, reason.message, host)
        group = self._found.get(key)
        if group is None:
            group = self._found[key] = _Group(reason.example)
        group.names.append(name)
        if reason.since is not None and (group.since is None or reason.since < group.since):
            group.since = reason.since

    def largest_first(self) -> list[FailureGroup]:
        """All groups."""
        groups = [
            FailureGroup(
                *key, group.example, len(group.names), group.since, tuple(heapq.nsmallest(MOST_IDS, group.names))
            )
            for key, group in self._found.items()
        ]
        return sorted(groups, key=lambda group: (-group.count, group.state, group.kind, group.message, group.host))
