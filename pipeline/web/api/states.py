"""The state of deliveries, which the cluster's view knows, as the API shows it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from pipeline.cluster.state import (
    EVERY_STATE,
    FailureGroup,
    LanePlace,
    State,
    StateFilter,
    StatePage,
    SubscriptionState,
    WorkerState,
)
from pipeline.core.clock import shown_time
from pipeline.observability.shown import shown_cause, shown_error, shown_text
from pipeline.web.principal import Principal

PAGE: Final = 1000
NONE: Final = StateFilter(ids=frozenset())
"""Matches nothing."""


class View(Protocol):
    """Knows the state of every subscription, whoever delivers it (cluster/view.py)."""

    @property
    def is_current(self) -> bool:
        """Whether it has read what there was at its start."""
        ...

    def problems(self) -> list[str]:
        """What can't be known at present, and why."""
        ...

    def workers(self) -> list[WorkerState]:
        """All workers, by name."""
        ...

    def state(self, subscription_id: str) -> SubscriptionState | None:
        """The state of a subscription; None if there is no such subscription."""
        ...

    async def states(self, wanted: StateFilter, after: str | None = None, limit: int = 100) -> StatePage:
        """A page of the subscriptions that match, by id."""
        ...

    async def totals(self, wanted: StateFilter = EVERY_STATE) -> Mapping[State, int]:
        """How many of the subscriptions that match stand in each state."""
        ...

    async def failures(self, wanted: StateFilter = EVERY_STATE) -> list[FailureGroup]:
        """Those of the subscriptions that match that fail, by cause and host."""
        ...


def limited(wanted: StateFilter, principal: Principal) -> StateFilter:
    """*wanted*, without the subscriptions that the principal may not see."""
    if any(wanted.metadata.get(name, value) != value for name, value in principal.tenant.items()):
        return NONE
    return replace(wanted, metadata={**wanted.metadata, **principal.tenant})


async def each_state(view: View, wanted: StateFilter) -> AsyncIterator[SubscriptionState]:
    """Every subscription that matches, by id."""
    after = None
    while True:
        page = await view.states(wanted, after, PAGE)
        for state in page.items:
            yield state
        if page.next is None:
            return
        after = page.next


def is_in_failure(view: View, subscription_id: str) -> bool | None:
    """Whether a subscription is in FAILURE; None if that is not known."""
    found = view.state(subscription_id) if view.is_current else None
    if found is None:
        return None
    return found.state == "failure" or any(lane.state == "failure" for lane in found.lanes)


def shown_waiting(view: View, subscription_id: str) -> dict[str, Any]:
    """How many events wait for a subscription."""
    found = view.state(subscription_id) if view.is_current else None
    if found is None:
        return {"waiting": None, "waitingAtMost": None}
    return {"waiting": found.waiting, "waitingAtMost": found.waiting_at_most}


def shown_state(state: SubscriptionState) -> dict[str, Any]:
    """The state of a subscription as JSON."""
    return {
        "state": state.state,
        "host": state.host,
        **_shown(state),
        "problem": None if state.problem is None else shown_text(state.problem),
        "waitingIsExact": state.waiting_is_exact,
        "oldestWaitingAt": _time(state.oldest_waiting_at),
        "lanes": [_shown_lane(lane) for lane in state.lanes],
    }


def _shown_lane(lane: LanePlace) -> dict[str, Any]:
    return {
        "topic": lane.topic,
        "partition": lane.partition,
        "state": lane.state,
        "worker": lane.worker,
        "next": lane.next,
        **_shown(lane),
        "oldestWaitingAt": _time(lane.oldest_event_at),
    }


def _shown(state: SubscriptionState | LanePlace) -> dict[str, Any]:
    return {
        "cause": None if state.cause is None else shown_cause(state.cause),
        "error": None if state.error is None else shown_error(state.error),
        "attempts": state.attempts,
        "failingSince": _time(state.failing_since),
        "nextTryAt": _time(state.next_try_at),
        "lastSuccessAt": _time(state.last_success_at),
        "waiting": state.waiting,
        "waitingAtMost": state.waiting_at_most,
    }


def shown_worker(worker: WorkerState) -> dict[str, Any]:
    """A worker as JSON."""
    return {
        "name": worker.name,
        "version": worker.version,
        "startedAt": _time(worker.started_at),
        "seenAt": _time(worker.seen_at),
        "isGone": worker.is_gone,
        "ready": worker.ready,
        "problem": worker.problem,
        "deliveredPerSecond": worker.delivered_per_second,
        "failedPerSecond": worker.failed_per_second,
        "queued": worker.queued,
        "inFlight": worker.in_flight,
        "warnings": list(worker.warnings),
        "partitions": [
            {
                "topic": each.topic,
                "partition": each.partition,
                "committed": each.committed,
                "dispatched": each.dispatched,
                "end": each.end,
            }
            for each in worker.partitions
        ],
    }


def shown_groups(groups: Sequence[FailureGroup]) -> list[dict[str, Any]]:
    """Groups of failures as JSON."""
    return [
        {
            "state": group.state,
            "kind": group.kind,
            "message": shown_text(group.message),
            "example": shown_text(group.example),
            "host": group.host,
            "count": group.count,
            "since": _time(group.since),
            "ids": list(group.ids),
        }
        for group in groups
    ]


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else shown_time(seconds)
