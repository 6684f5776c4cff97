"""The state of the cluster as JSON, for the API and commands. Pure."""

from collections.abc import Sequence
from typing import Any

from pipeline.cluster.state import FailureGroup, LaneSummary, SubscriptionState, WorkerState
from pipeline.core.attempts import DeadLetterRun
from pipeline.core.clock import shown_time
from pipeline.observability.shown import shown_cause, shown_error, shown_text, slow_start_document


def shown_state(state: SubscriptionState, *, with_workers: bool = True) -> dict[str, Any]:
    """The state of a subscription as JSON. Tenants get it without the addresses of workers."""
    return {
        "state": state.state,
        "host": state.host,
        **_shown(state),
        "cause": _shown_cause(state),
        "deadLetters": None if state.dead_letter_run is None else _shown_run(state.dead_letter_run),
        "problem": None if state.problem is None else shown_text(state.problem),
        "waitingIsExact": state.waiting_is_exact,
        "oldestWaitingAt": _time(state.oldest_waiting_at),
        "slowStart": None if state.slow_start is None else slow_start_document(state.slow_start),
        "lanes": [_shown_lane(lane, with_workers=with_workers) for lane in state.lanes],
    }


def _shown_cause(state: SubscriptionState) -> dict[str, Any] | None:
    """The cause as JSON, with topic and partition of the offset, because a subscription has several lanes."""
    if state.cause is None:
        return None
    lane = next((lane for lane in state.lanes if lane.cause is state.cause), None)
    place = (None, None) if lane is None else (lane.topic, lane.partition)
    return {**shown_cause(state.cause), "topic": place[0], "partition": place[1]}


def _shown_run(run: DeadLetterRun) -> dict[str, Any]:
    return {
        "count": run.count,
        "since": _time(run.since),
        "lastAt": _time(run.at),
        "message": shown_text(run.message),
    }


def _shown_lane(lane: LaneSummary, *, with_workers: bool) -> dict[str, Any]:
    return {
        "topic": lane.topic,
        "partition": lane.partition,
        "state": lane.state,
        "worker": lane.worker if with_workers else None,
        "next": lane.next,
        **_shown(lane),
        "oldestWaitingAt": _time(lane.oldest_event_at),
    }


def _shown(state: SubscriptionState | LaneSummary) -> dict[str, Any]:
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
            "waiting": group.waiting,
            "waitingAtLeast": group.waiting_at_least,
            "waitingAtMost": group.waiting_at_most,
            "oldestWaitingAt": _time(group.oldest_waiting_at),
        }
        for group in groups
    ]


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else shown_time(seconds)
