"""Groups subscriptions that fail for the same reason: an outage of one receiver is one line, however many there are."""

from collections.abc import Iterable
from typing import Final

from pipeline.cluster.joining import Reason
from pipeline.cluster.state import FailureGroup, State

MOST_IDS: Final = 100
FAILING: Final[frozenset[State]] = frozenset({"broken", "failure", "retrying"})


def grouped(failing: Iterable[tuple[str, str, Reason]]) -> list[FailureGroup]:
    """The groups, the largest first.

    Args:
        failing: id, host and reason of each subscription.
    """
    found: dict[tuple[State, str, str, str], list[tuple[str, Reason]]] = {}
    for name, host, reason in failing:
        if reason.state in FAILING:
            found.setdefault((reason.state, reason.kind, reason.message, host), []).append((name, reason))
    groups = [
        FailureGroup(
            state=state,
            kind=kind,
            message=message,
            example=members[0][1].example,
            host=host,
            count=len(members),
            since=min((reason.since for _, reason in members if reason.since is not None), default=None),
            ids=tuple(sorted(name for name, _ in members)[:MOST_IDS]),
        )
        for (state, kind, message, host), members in found.items()
    ]
    return sorted(groups, key=lambda group: (-group.count, group.state, group.kind, group.message, group.host))
