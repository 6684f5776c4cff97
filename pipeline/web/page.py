"""The page for people: this worker, its partitions, its lanes, those in trouble first. Pure; no script in it."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.core.clock import shown_time
from pipeline.core.model import Cause, Status
from pipeline.core.redaction import shown_url
from pipeline.observability.status import LaneReport, PartitionReport, WorkerReport
from pipeline.observability.telemetry import Telemetry
from pipeline.web.headers import CLOSED_POLICY
from pipeline.web.lanes import shown_text
from pipeline.web.markup import Markup, fragment, tag

MOST_LANES: Final = 100
"""Lanes on the page; the rest is at `/lanes`."""

STYLE: Final = Markup("""
:root { color-scheme: light dark; --line: #8884; --bad: #c62828; --slow: #b26a00; --good: #2e7d32; }
* { box-sizing: border-box; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --slow: #ffc46b; --good: #81c784; } }
body { font: 1rem/1.45 system-ui, sans-serif; max-width: 75rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; overflow-wrap: anywhere; }
p { margin: .2rem 0; }
small, dt, th { opacity: .75; font-weight: normal; }
.good { --tone: var(--good); } .slow { --tone: var(--slow); } .bad { --tone: var(--bad); }
h2, b, p { color: var(--tone, inherit); }
.cards { display: grid; gap: .7rem; grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr)); }
.cards > * { border: 1px solid var(--line); border-radius: .3rem; padding: .6rem .8rem; }
.cards > article { border-left: .3rem solid var(--tone, var(--line)); align-self: start; }
dl { display: grid; grid-template-columns: auto 1fr; gap: 0 .8rem; margin: .3rem 0 0; font-size: .9rem; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.numbers { margin-top: 1rem; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); }
.numbers b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
""")

POLICY: Final = "; ".join(
    (
        CLOSED_POLICY,
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'",
    )
)
"""The content security policy of the page: the one style sheet in it, named by its hash, and nothing else."""


@dataclass(frozen=True, slots=True)
class Group:
    """Lanes under one heading; *tone* is the class of their colour."""

    title: str
    tone: str
    lanes: Sequence[LaneReport]


def page(report: WorkerReport, lanes: Iterable[LaneReport], telemetry: Telemetry, now: float) -> str:
    """The whole document, as of *now* in Unix seconds."""
    title = f"{report.app}, topic {report.topic}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", STYLE),
    )
    body = tag(
        "body",
        tag("h1", title),
        _readiness(report, now),
        _numbers(report, telemetry),
        _partitions(report.partitions, now),
        *_groups(group_lanes(lanes), now),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def group_lanes(lanes: Iterable[LaneReport]) -> list[Group]:
    """Lanes by what a person should look at first; within a group the furthest behind first."""
    groups: dict[str, list[LaneReport]] = {"Failed": [], "Behind": [], "Trying again": [], "Stopped": [], "Live": []}
    for lane in lanes:
        groups[_title(lane)].append(lane)
    tones = {"Failed": "bad", "Behind": "slow", "Trying again": "slow", "Stopped": "", "Live": "good"}
    return [
        Group(title, tones[title], sorted(members, key=lambda lane: (-lane.waiting_at_most, lane.subscription)))
        for title, members in groups.items()
        if members
    ]


def _title(lane: LaneReport) -> str:
    if lane.status == Status.FAILURE:
        return "Failed"
    if lane.state == "stopped":
        return "Stopped"
    if lane.state == "behind":
        return "Behind"
    return "Trying again" if lane.not_before else "Live"


def _readiness(report: WorkerReport, now: float) -> Markup:
    if report.ready:
        state = tag("b", "ready", class_="good")
    else:
        state = tag("b", f"not ready: {shown_text(report.problem or 'the worker is starting')}", class_="bad")
    return tag("p", state, " ", tag("small", f"as of {shown_time(now)}, since this worker started"))


def _numbers(report: WorkerReport, telemetry: Telemetry) -> Markup:
    settled = telemetry.deliveries
    numbers = {
        "deliveries/s, last minute": f"{telemetry.delivered_rate.per_second():,.1f}",
        "delivered": f"{settled['delivered']:,}",
        "dead-lettered": f"{settled['dead-lettered']:,}",
        "dropped": f"{sum(telemetry.drops.values()):,}",
        "requests in flight": f"{report.in_flight:,}",
        "events in memory": f"{report.queued_events:,}",
        "MiB in memory": f"{report.queued_bytes / 2**20:,.1f}",
        "subscriptions": f"{report.subscriptions:,}",
    }
    return tag(
        "div",
        *(tag("div", tag("b", value), tag("small", name)) for name, value in numbers.items()),
        class_="cards numbers",
    )


def _partitions(partitions: Sequence[PartitionReport], now: float) -> Markup:
    heading = tag("h2", f"Partitions ({len(partitions)})")
    if not partitions:
        return fragment(heading, tag("p", "None is assigned to this worker."))
    columns = ("partition", "open", "committed", "dispatched", "end", "unsettled", "oldest", "lanes", "moved")
    rows = (
        (
            row.partition,
            "yes" if row.is_open else "no",
            _known(row.committed),
            row.dispatched,
            _known(row.end),
            row.unsettled,
            f"{row.oldest_unsettled_seconds:.1f} s",
            row.lanes,
            f"{max(0.0, now - row.progressed_at):.0f} s ago",
        )
        for row in partitions
    )
    table = tag(
        "table",
        tag("thead", tag("tr", *(tag("th", column, scope="col") for column in columns))),
        tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows)),
    )
    return fragment(heading, tag("div", table, class_="wide"))


def _groups(groups: Sequence[Group], now: float) -> Iterable[Markup]:
    if not groups:
        yield fragment(tag("h2", "Lanes (0)"), tag("p", "No event has arrived for any subscription here."))
    room = MOST_LANES
    for group in groups:
        shown = group.lanes[:room]
        room -= len(shown)
        yield tag("h2", f"{group.title} ({len(group.lanes)})", class_=group.tone or None)
        yield tag("div", *(_lane(lane, group.tone, now) for lane in shown), class_="cards")
        left = len(group.lanes) - len(shown)
        if left:
            yield tag("p", f"and {left} more; ", tag("a", "all lanes as JSON", href="/lanes"))


def _lane(lane: LaneReport, tone: str, now: float) -> Markup:
    facts = {
        "state": f"{lane.state}, {lane.status}",
        "next": f"offset {lane.next}",
        "waiting": _waiting(lane),
        "oldest": _oldest(lane, now),
        "in memory": f"{lane.queued:,} queued, {lane.in_flight:,} under way" if lane.queued or lane.in_flight else None,
        **(_failing(lane, now) if lane.cause is None else _failed(lane.cause)),
        "QoS": lane.qos or None,
        "callback": shown_url(lane.url) or None,
        "revision": lane.revision,
    }
    cause, error = lane.cause, lane.error
    return tag(
        "article",
        tag("h3", lane.subscription, " ", tag("small", f"partition {lane.partition}")),
        tag("p", f"{cause.kind}: {shown_text(cause.message)}{_at_offset(cause.offset)}", class_="bad")
        if cause
        else None,
        tag("p", f"last attempt: {shown_text(error.message)}", class_="slow") if error and not cause else None,
        tag("p", shown_text(lane.warning), class_="slow") if lane.warning else None,
        tag("dl", *(fragment(tag("dt", name), tag("dd", fact)) for name, fact in facts.items() if fact is not None)),
        class_=tone or None,
    )


def _waiting(lane: LaneReport) -> str:
    if lane.waiting is None:
        return f"up to {lane.waiting_at_most:,} events (offsets of the partition)"
    return f"{lane.waiting:,} event{'' if lane.waiting == 1 else 's'}"


def _oldest(lane: LaneReport, now: float) -> str | None:
    moment = lane.oldest_event_at
    return None if moment is None else f"{shown_time(moment)}, {max(0.0, now - moment):,.0f} s ago"


def _failing(lane: LaneReport, now: float) -> dict[str, object]:
    """What is known of the attempts of an event that is tried again."""
    error, since = lane.error, lane.first_attempt_at
    return {
        "attempts": lane.attempt or None,
        "failing since": None if error is None or since is None else shown_time(since),
        "last failed": None if error is None else _answered(error.at, error.status),
        "next attempt": _wait(lane.not_before, now),
    }


def _failed(cause: Cause) -> dict[str, object]:
    """What is known of the attempts that led to a FAILURE."""
    attempts = cause.attempts
    return {
        "attempts": None if attempts is None else attempts.count,
        "failing since": None if attempts is None else shown_time(attempts.since),
        "failed at": _answered(cause.at, None if attempts is None else attempts.status),
    }


def _answered(moment: float, status: int | None) -> str | None:
    time = shown_time(moment)
    return time if status is None else f"{time}, status {status}"


def _at_offset(offset: int | None) -> str:
    return "" if offset is None else f" (offset {offset})"


def _wait(not_before: float, now: float) -> str | None:
    if not not_before:
        return None
    return f"{shown_time(not_before)}, in {not_before - now:.0f} s" if not_before > now else "due"


def _known(value: int | None) -> str:
    return "unknown" if value is None else str(value)
