"""`/worker`: this worker, its partitions and its lanes. Lanes that fail come first."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.core.clock import shown_time
from pipeline.core.model import Cause, Status
from pipeline.core.redaction import shown_url
from pipeline.observability.shown import shown_slow_start
from pipeline.observability.status import LaneReport, PartitionReport, WorkerReport
from pipeline.observability.telemetry import Telemetry
from pipeline.web.pages.rendering import TURN, render
from pipeline.web.presence import Presence

MOST_LANES: Final = 100
"""The largest number of lanes on the page. `/lanes` has all lanes."""

LEGEND: Final = {
    "delivering": "whether the partition accepts events; otherwise it is being opened",
    "committed": "the committed offset of the consumer group: every earlier event is settled, or tracked by a cursor",
    "dispatched": "the next offset that this worker will dispatch",
    "log end": "the offset that the next event of the partition will have",
    "unsettled": "events after the committed offset that are neither settled nor tracked by a cursor",
    "oldest waiting": "the age of the oldest waiting event; events of lanes that are behind or failed count too",
    "lanes": "subscriptions with work or state in this partition",
    "last progress": "the time since events last arrived or were read again",
}
"""The columns of the partitions table and their meanings."""


@dataclass(frozen=True, slots=True)
class LaneGroup:
    """Lanes under one heading.

    Attributes:
        tone: the CSS class of their colour.
        lanes: the lanes that are shown.
        left: the number of lanes that are not shown.
    """

    title: str
    tone: str
    lanes: Sequence[LaneReport]
    left: int

    @property
    def total(self) -> int:
        """The number of lanes, shown or not."""
        return len(self.lanes) + self.left


async def page(
    report: WorkerReport,
    lanes: Iterable[LaneReport],
    telemetry: Telemetry,
    now: float,
    *,
    absent: int = 0,
    asked: Presence | None = None,
) -> str:
    """Render the whole document. Other tasks may run while it is rendered.

    Args:
        report: the status of the worker.
        lanes: the lanes to show.
        telemetry: the counters of the worker.
        now: the time of the report, Unix seconds.
        absent: the number of subscriptions without a lane in this worker.
        asked: the requested subscription; None for all.
    """
    return await render(
        "worker.html",
        app=report.app,
        topics=report.topics,
        worker=report,
        now=now,
        asked=asked,
        numbers=_numbers(report, telemetry),
        legend=LEGEND,
        partitions=_partitions(report.partitions),
        groups=await group_lanes(lanes),
        facts_of=lambda lane: _facts(lane, now),
        absent=absent,
    )


async def group_lanes(lanes: Iterable[LaneReport]) -> list[LaneGroup]:
    """At most `MOST_LANES` lanes in groups.

    The most urgent group comes first, and in it the lane with the most waiting events.
    """
    tones = {"Failed": "bad", "Behind": "slow", "Retrying": "slow", "Stopped": "", "Live": "good"}
    groups: dict[str, list[LaneReport]] = {title: [] for title in tones}
    for number, lane in enumerate(lanes, start=1):
        groups[_title(lane)].append(lane)
        if number % TURN == 0:
            await asyncio.sleep(0)
    found = []
    rooms = divided([len(members) for members in groups.values()], MOST_LANES)
    for (title, members), room in zip(groups.items(), rooms, strict=True):
        if members:
            shown = await _first(members, room)
            found.append(LaneGroup(title, tones[title], shown, len(members) - len(shown)))
    return found


async def _first(lanes: Sequence[LaneReport], most: int) -> list[LaneReport]:
    """The lanes with the largest numbers of waiting events, at most *most* of them."""
    first: list[LaneReport] = []
    for start in range(0, len(lanes), TURN):
        first = sorted((*first, *lanes[start : start + TURN]), key=_by_waiting)[:most]
        await asyncio.sleep(0)
    return first


def _by_waiting(lane: LaneReport) -> tuple[int, str]:
    return -lane.waiting_at_most, lane.subscription


def _title(lane: LaneReport) -> str:
    if lane.status == Status.FAILURE:
        return "Failed"
    if lane.state == "halted":
        return "Stopped"
    if lane.state == "behind":
        return "Behind"
    return "Retrying" if lane.not_before else "Live"


def _numbers(report: WorkerReport, telemetry: Telemetry) -> dict[str, str]:
    settled = telemetry.deliveries
    return {
        "deliveries/s, last minute": f"{telemetry.delivered_rate.per_second():,.1f}",
        "delivered": f"{settled['delivered']:,}",
        "dead-lettered": f"{settled['dead-lettered']:,}",
        "dropped": f"{sum(telemetry.drops.values()):,}",
        "requests in flight": f"{report.in_flight:,}",
        "events in memory": f"{report.queued_events:,}",
        "MiB in memory": f"{report.queued_bytes / 2**20:,.1f}",
        "subscriptions": f"{report.subscriptions:,}",
    }


def _partitions(partitions: Sequence[PartitionReport]) -> Iterator[tuple[object, ...]]:
    """The rows of the table: topic and number of a partition, then the columns of `LEGEND`."""
    for row in partitions:
        yield (
            f"{row.topic} {row.partition}",
            "yes" if row.is_open else "no",
            _known(row.committed),
            _known(row.dispatched),
            _known(row.end),
            row.unsettled,
            f"{row.oldest_unsettled_seconds:.1f} s",
            row.lanes,
            f"{row.idle_seconds:.0f} s ago",
        )


def divided(wanted: Sequence[int], room: int) -> list[int]:
    """*room*, divided into equal shares. The part of a share that is not needed is divided among the others."""
    given = [0] * len(wanted)
    for left, number in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        given[number] = min(wanted[number], room // (len(wanted) - left))
        room -= given[number]
    return given


def _facts(lane: LaneReport, now: float) -> dict[str, object]:
    """The facts on the card of a lane."""
    facts = {
        "state": _state(lane),
        "next": f"offset {lane.next}",
        "waiting": _waiting(lane),
        "oldest": _oldest(lane, now),
        "in memory": f"{lane.queued:,} queued, {lane.in_flight:,} in flight" if lane.queued or lane.in_flight else None,
        **(_failing(lane, now) if lane.cause is None else _failed(lane.cause, now)),
        "spared": None if lane.slow_start is None else shown_slow_start(lane.slow_start),
        "QoS": lane.qos or None,
        "callback": shown_url(lane.url) or None,
        "revision": lane.revision,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _state(lane: LaneReport) -> str:
    """The state and the status (as in `/lanes`) in one sentence."""
    match lane.state, lane.status:
        case state, Status.FAILURE:
            return _failed_state(state, lane.cause)
        case "halted", Status.PAUSED:
            return "Paused by the publisher, or not started yet"
        case "halted", Status.STOPPED:
            return "Stopped by the consumer"
        case "halted", _:
            return "Closed"
        case "behind", _:
            return "Behind: reads the log separately"
        case _:
            return "Live: delivers events as they arrive from Kafka"


def _failed_state(state: str, cause: Cause | None) -> str:
    if state != "halted":
        return "Failed: a probe is under way"
    if _next_probe(cause):
        return "Failed: continues when a probe succeeds, or at once after a resume"
    return "Failed: resume it, or skip the event"


def _waiting(lane: LaneReport) -> str:
    if lane.waiting is None:
        return f"up to {lane.waiting_at_most:,} events (offsets of the partition)"
    return f"{lane.waiting:,} event{'' if lane.waiting == 1 else 's'}"


def _oldest(lane: LaneReport, now: float) -> str | None:
    moment = lane.oldest_event_at
    return None if moment is None else f"{shown_time(moment)}, {max(0.0, now - moment):,.0f} s ago"


def _failing(lane: LaneReport, now: float) -> dict[str, object]:
    """The facts about the attempts of an event that is being retried."""
    error, since = lane.error, lane.first_attempt_at
    return {
        "attempts": lane.attempt or None,
        "failing since": None if error is None or since is None else shown_time(since),
        "last failed": None if error is None else _answered(error.at, error.status),
        "next attempt": _wait(lane.not_before, now),
    }


def _failed(cause: Cause, now: float) -> dict[str, object]:
    """The facts about the attempts that led to a FAILURE, and the probes."""
    attempts = cause.attempts
    return {
        "attempts": None if attempts is None else attempts.count,
        "failing since": None if attempts is None else shown_time(attempts.since),
        "failed at": _answered(cause.at, None if attempts is None else attempts.status),
        "probes": None if cause.probes is None else cause.probes.made,
        "next try": _wait(_next_probe(cause), now),
    }


def _next_probe(cause: Cause | None) -> float:
    """When the next probe is due, Unix seconds; 0 if there is none."""
    return (cause.probes.next_at or 0.0) if cause is not None and cause.probes is not None else 0.0


def _answered(moment: float, status: int | None) -> str | None:
    time = shown_time(moment)
    return time if status is None else f"{time}, status {status}"


def _wait(not_before: float, now: float) -> str | None:
    if not not_before:
        return None
    return f"{shown_time(not_before)}, in {not_before - now:.0f} s" if not_before > now else "due"


def _known(value: int | None) -> str:
    return "unknown" if value is None else str(value)
