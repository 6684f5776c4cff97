"""The page for people: this worker, its partitions, its lanes, those in trouble first. Pure; no script in it."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.core.clock import shown_time
from pipeline.core.model import Cause, Status
from pipeline.core.redaction import shown_url
from pipeline.observability.shown import shown_text
from pipeline.observability.status import LaneReport, PartitionReport, WorkerReport
from pipeline.observability.telemetry import Telemetry
from pipeline.web.headers import CLOSED_POLICY
from pipeline.web.markup import Markup, fragment, tag
from pipeline.web.presence import Presence

MOST_LANES: Final = 100
"""Lanes on the page; the rest is at `/lanes`."""

LEGEND: Final = {
    "delivering": "whether events of the partition are taken in; it is being opened otherwise",
    "committed": "the offset that the consumer group has stored: all before it is done, or kept by a cursor",
    "handed out": "the next offset that Kafka will hand to this worker",
    "log end": "the offset that the next event of the partition will have",
    "not settled": "events from the committed offset on that are neither delivered nor given up nor kept by a cursor",
    "oldest waits": "the age of the oldest event that waits, also of subscriptions that are behind or failed",
    "lanes": "subscriptions that have something to do here, or to remember",
    "last progress": "since events came, were delivered or were read again",
}
"""The columns of the table of partitions, and what they mean."""

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
form { margin: .6rem 0; }
input, button { font: inherit; }
summary { cursor: pointer; opacity: .75; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
""")

POLICY: Final = "; ".join(
    (
        CLOSED_POLICY,
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'",
    )
).replace("form-action 'none'", "form-action 'self'")
"""The content security policy of the page: the one style sheet in it, named by its hash, and its form; nothing else."""


@dataclass(frozen=True, slots=True)
class Group:
    """Lanes under one heading; *tone* is the class of their colour."""

    title: str
    tone: str
    lanes: Sequence[LaneReport]


def page(
    report: WorkerReport,
    lanes: Iterable[LaneReport],
    telemetry: Telemetry,
    now: float,
    *,
    absent: int = 0,
    asked: Presence | None = None,
) -> str:
    """The whole document.

    Args:
        report: the worker.
        lanes: those to show.
        telemetry: the counters.
        now: as of then, Unix seconds.
        absent: how many subscriptions have no lane here.
        asked: the one subscription that is asked for, if one is.
    """
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
        *(tag("p", shown_text(warning), class_="slow") for warning in report.warnings),
        _whose(report),
        _search(asked),
        *((_numbers(report, telemetry), _partitions(report.partitions, now)) if asked is None else ()),
        *_groups(group_lanes(lanes), now, is_whole=asked is None),
        _absent(absent) if asked is None else None,
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
    return tag("p", state, " ", tag("small", f"as of {shown_time(now)}; counters since worker start"))


def _whose(report: WorkerReport) -> Markup:
    """A page behind a load balancer may be another worker's each time it is loaded."""
    partitions = ", ".join(map(str, report.assigned)) or "none"
    count = "" if report.partition_count is None else f"; the topic has {report.partition_count}"
    return tag(
        "p",
        "Worker ",
        tag("b", report.name),
        f": this page shows the partitions of this worker only ({partitions}{count}). Each worker has its own.",
    )


def _search(asked: Presence | None) -> Markup:
    name = None if asked is None else asked.subscription
    form = tag(
        "form",
        tag("label", "Subscription ", tag("input", name="subscription", value=name, required="required")),
        " ",
        tag("button", "Show"),
        " ",
        tag("a", "show all", href="/") if asked else None,
        action="/",
        method="get",
    )
    return form if asked is None else fragment(form, tag("p", tag("b", name), ": ", asked.sentence))


def _absent(count: int) -> Markup | None:
    if not count:
        return None
    return fragment(
        tag("h2", f"Idle, or with other workers ({count:,})"),
        tag(
            "p",
            "Nothing of these subscriptions waits in the partitions of this worker: ",
            tag("a", "the idle ones", href="/lanes?state=idle"),
            ", ",
            tag("a", "those of other workers", href="/lanes?state=elsewhere"),
            " as JSON.",
        ),
    )


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
    columns = ("partition", *LEGEND)
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
    legend = (fragment(tag("dt", name), tag("dd", meaning)) for name, meaning in LEGEND.items())
    return fragment(
        heading,
        tag("div", table, class_="wide"),
        tag("details", tag("summary", "What the columns mean"), tag("dl", *legend)),
    )


def _groups(groups: Sequence[Group], now: float, *, is_whole: bool) -> Iterable[Markup]:
    if is_whole and not groups:
        yield fragment(tag("h2", "Lanes (0)"), tag("p", "No subscription has anything to do here."))
    for group, room in zip(groups, shares([len(group.lanes) for group in groups], MOST_LANES), strict=True):
        shown = group.lanes[:room]
        yield tag("h2", f"{group.title} ({len(group.lanes)})", class_=group.tone or None)
        yield tag("div", *(_lane(lane, group.tone, now) for lane in shown), class_="cards")
        left = len(group.lanes) - len(shown)
        if left:
            yield tag("p", f"and {left} more; ", tag("a", "all lanes as JSON", href="/lanes"))


def shares(wanted: Sequence[int], room: int) -> list[int]:
    """How much of *room* each gets: an equal share, and what others leave of theirs."""
    given = [0] * len(wanted)
    for left, number in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        given[number] = min(wanted[number], room // (len(wanted) - left))
        room -= given[number]
    return given


def _lane(lane: LaneReport, tone: str, now: float) -> Markup:
    facts = {
        "state": _state(lane),
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


def _state(lane: LaneReport) -> str:
    """One sentence for what `/lanes` calls state and status."""
    match lane.state, lane.status:
        case "stopped", Status.FAILURE:
            return "Failed: resume it, or skip the event"
        case "stopped", Status.PAUSED:
            return "Paused by the publisher, or not begun yet"
        case "stopped", Status.STOPPED:
            return "Stopped by the consumer"
        case "stopped", _:
            return "Closed"
        case "behind", _:
            return "Behind: it reads the log by itself"
        case _:
            return "Live: its events come as Kafka hands them out"


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
