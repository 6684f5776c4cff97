"""A fake view of a cluster with states that a test sets."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.cluster.failures import FailureGroups, largest_first, with_waiting
from pipeline.cluster.joining import FailureReason, reason_of
from pipeline.cluster.state import (
    EVERY_STATE,
    STATES,
    FailureGroup,
    LaneSummary,
    State,
    StateFilter,
    StatePage,
    SubscriptionState,
    WorkerState,
)
from pipeline.core.model import Cause

NOW = 1_770_000_000.0


def failed(name: str, message: str = "the callback answered 503", **facts: Any) -> SubscriptionState:
    """A subscription in FAILURE."""
    cause = Cause("server-error", message, 41, NOW - 60)
    lane = LaneSummary(
        "events", 3, "failure", "host-1:6066", 41, 12, 12, NOW - 600, attempts=4, failing_since=NOW - 90, cause=cause
    )
    known = SubscriptionState(
        name,
        "failure",
        7,
        "api.example.com",
        "at-least-once",
        cause=cause,
        attempts=4,
        failing_since=NOW - 90,
        waiting=12,
        waiting_at_most=12,
        oldest_waiting_at=NOW - 600,
        lanes=(lane,),
    )
    return replace(known, **facts)


def live(name: str, **metadata: str) -> SubscriptionState:
    """A live subscription without waiting events."""
    return SubscriptionState(name, "live", 3, "api.example.com", "auto", metadata=metadata)


@dataclass
class FixedView:
    """A view that returns the states in its attributes."""

    items: list[SubscriptionState] = field(default_factory=list)
    present: list[WorkerState] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    version: int = 1
    is_current: bool = True
    hears_workers: bool = True
    asked: int = 0
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    def problems(self) -> list[str]:
        return list(self.sentences)

    def workers(self) -> list[WorkerState]:
        return self.present

    def state(self, subscription_id: str) -> SubscriptionState | None:
        return next((each for each in self.items if each.id == subscription_id), None)

    async def states(self, wanted: StateFilter = EVERY_STATE, after: str | None = None, limit: int = 100) -> StatePage:
        found = [
            each
            for each in sorted(self.items, key=lambda each: each.id)
            if wanted.text in each.id
            and (wanted.ids is None or each.id in wanted.ids)
            and (not wanted.states or each.state in wanted.states)
            and wanted.host in {None, each.host}
            and wanted.metadata.items() <= each.metadata.items()
        ]
        page = [each for each in found if after is None or each.id > after][:limit]
        is_last = not page or page[-1] is found[-1]
        return StatePage(page, None if is_last else page[-1].id, len(found))

    async def totals(self, wanted: StateFilter = EVERY_STATE) -> Mapping[State, int]:
        self.asked += 1
        found = (await self.states(wanted, limit=10_000)).items
        return {state: sum(each.state == state for each in found) for state in STATES}

    async def failures(self, wanted: StateFilter = EVERY_STATE) -> list[FailureGroup]:
        groups = FailureGroups()
        for each in (await self.states(wanted, limit=10_000)).items:
            if each.dead_letter_run is not None:
                why = reason_of((), [each.dead_letter_run])
                assert why is not None
                groups.add(each.id, each.host, why)
            elif each.cause is not None:
                said = each.cause.message
                groups.add(
                    each.id, each.host, FailureReason(each.state, each.cause.kind, said, said, each.failing_since)
                )
        return await with_waiting(largest_first(group.shown() for group in groups.groups()), self.state)

    async def changed(self, since: int) -> int:
        while self.version <= since:
            self._more.clear()
            await self._more.wait()
        return self.version

    def change(self) -> None:
        """Notify callers of a change."""
        self.version += 1
        self._more.set()
