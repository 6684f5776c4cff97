"""Shows the lanes of a worker as JSON: parses the query and formats the lanes. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

from multidict import MultiMapping

from pipeline.core.clock import shown_time
from pipeline.core.lane_state import Feed
from pipeline.core.model import Cause, Status
from pipeline.core.redaction import shown_url
from pipeline.observability.shown import shown_cause, shown_error, shown_text, slow_start_document
from pipeline.observability.status import EVERY_LANE, Absence, AbsentReport, LaneFilter, LaneReport

STATES: Final = (*get_args(Feed), *get_args(Absence))
STATUSES: Final = tuple(Status)
PARAMETERS: Final = ("subscription", "state", "status", "topic", "partition", "limit", "offset")
DEFAULT_LIMIT: Final = 100
MOST: Final = 1000
LARGEST: Final = 2**31 - 1

Counted = Callable[[str, str, int], int | None]
"""Returns exactly how many events of a subscription wait in a partition of a topic; None if unknown."""


@dataclass(frozen=True, slots=True)
class LaneQuery:
    """The requested page of the requested lanes.

    Attributes:
        limit: the size of the page.
        offset: the number of matching lanes before the page.
    """

    wanted: LaneFilter = EVERY_LANE
    limit: int = DEFAULT_LIMIT
    offset: int = 0

    def page(self, lanes: Sequence[LaneReport], absent: Sequence[str]) -> tuple[Sequence[LaneReport], Sequence[str]]:
        """The lanes on the page, then the absent subscriptions on the page."""
        end, before = self.offset + self.limit, len(lanes)
        return lanes[self.offset : end], absent[max(0, self.offset - before) : max(0, end - before)]


def parse_query(query: MultiMapping[str]) -> LaneQuery | list[str]:
    """The query, or a sentence for each invalid parameter."""
    unknown = sorted({*query} - {*PARAMETERS})
    problems = [f"{name}: unknown parameter; allowed: {', '.join(PARAMETERS)}" for name in unknown]
    problems += [f"{name}: given more than once" for name in PARAMETERS if len(query.getall(name, [])) > 1]
    parsed = LaneQuery(
        LaneFilter(
            subscription=query.get("subscription"),
            state=_choice(query, "state", STATES, problems),
            status=_choice(query, "status", STATUSES, problems),
            topic=query.get("topic"),
            partition=_integer(query, "partition", (0, LARGEST), problems),
        ),
        limit=_integer(query, "limit", (1, MOST), problems) or DEFAULT_LIMIT,
        offset=_integer(query, "offset", (0, LARGEST), problems) or 0,
    )
    return problems or parsed


def _choice(query: MultiMapping[str], name: str, allowed: tuple[str, ...], problems: list[str]) -> str | None:
    value = query.get(name)
    if value is not None and value not in allowed:
        problems.append(f"{name}: {value!r} is not one of {', '.join(allowed)}")
    return value


def _integer(query: MultiMapping[str], name: str, bounds: tuple[int, int], problems: list[str]) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    least, most = bounds
    digits = len(str(most))
    value = int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None
    if value is None or not least <= value <= most:
        problems.append(f"{name}: {text!r} is not a whole number from {least} to {most}")
    return value


def not_counted(_subscription: str, _topic: str, _partition: int) -> int | None:
    """A `Counted` that returns None for every lane."""
    return None


def counted_by(lane: LaneReport, counted: Counted) -> LaneReport:
    """The lane.

    If it has not counted its waiting events, the number from *counted* is filled in, if that is known.
    """
    if lane.waiting is not None:
        return lane
    waiting = counted(lane.subscription, lane.topic, lane.partition)
    return lane if waiting is None else replace(lane, waiting=waiting, waiting_at_most=waiting)


def shown_lane(lane: LaneReport) -> dict[str, Any]:
    """The lane as JSON without secrets. Times are in RFC 3339; missing values are null."""
    return {
        "subscription": lane.subscription,
        "topic": lane.topic,
        "partition": lane.partition,
        "state": lane.state,
        "status": lane.status,
        "next": lane.next,
        "waiting": lane.waiting,
        "waitingAtMost": lane.waiting_at_most,
        "oldestEventAt": None if lane.oldest_event_at is None else shown_time(lane.oldest_event_at),
        "queued": lane.queued,
        "queuedBytes": lane.queued_bytes,
        "inFlight": lane.in_flight,
        "attempt": lane.attempt,
        "firstAttemptAt": None if lane.first_attempt_at is None else shown_time(lane.first_attempt_at),
        "notBefore": shown_time(lane.not_before),
        "error": None if lane.error is None else shown_error(lane.error),
        "cause": None if lane.cause is None else shown_cause(lane.cause),
        "revision": lane.revision,
        "qos": lane.qos,
        "url": shown_url(lane.url),
        "warning": None if lane.warning is None else shown_text(lane.warning),
        "slowStart": None if lane.slow_start is None else slow_start_document(lane.slow_start),
    }


def shown_absent(absent: AbsentReport) -> dict[str, Any]:
    """A subscription without a lane in this worker, as JSON with the fields of a lane."""
    waiting = 0 if absent.state == "idle" else None
    problem = absent.problem
    return {
        "subscription": absent.subscription,
        "topic": None,
        "partition": None,
        "state": absent.state,
        "status": absent.status,
        "next": None,
        "waiting": waiting,
        "waitingAtMost": waiting,
        "oldestEventAt": None,
        "queued": 0,
        "queuedBytes": 0,
        "inFlight": 0,
        "attempt": 0,
        "firstAttemptAt": None,
        "notBefore": None,
        "error": None,
        "cause": None if problem is None else shown_cause(Cause("configuration", problem, None, 0.0)),
        "revision": absent.revision,
        "qos": absent.qos,
        "url": shown_url(absent.url),
        "warning": None if absent.warning is None else shown_text(absent.warning),
        "slowStart": None,
    }
