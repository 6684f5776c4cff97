"""The format of the announcements that a worker writes to `<app>.workers` every two seconds. Pure.

The key of a record is the worker's name. A tombstone means that the worker has stopped. `decode` validates every value,
because anyone with access to the topic may have written the record. Unknown fields are ignored, so older workers can
read the announcements of newer workers.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.cluster.state import PartitionState
from pipeline.core.attempts import DeadLetterRun, FailedAttempt
from pipeline.core.rate_limit import SlowStart
from pipeline.kafka.json_fields import is_moment, is_whole, moment, moment_or_none, parse_object, text, whole

VERSION: Final = 1
LONGEST: Final = 900_000
"""The largest announcement, in bytes. By default, brokers accept records of up to one megabyte."""
MOST_LANES: Final = 500
MOST_SUCCESSES: Final = 1_000
MOST_SLOW_STARTS: Final = 500
MOST_DEAD_LETTER_RUNS: Final = 50
MOST_WARNINGS: Final = 50
_LONGEST_TEXT: Final = 2_000
_LONGEST_MESSAGE: Final = 300


@dataclass(frozen=True, slots=True)
class AnnouncedLane:
    """A live lane that has events in memory. Its row is missing or out of date.

    Attributes:
        waiting: the number of its unsettled events.
        attempts: the number of attempts for its next event, including one that is under way.
        failing_since: when the first attempt for this event began, Unix seconds; None if no attempt has failed.
        next_try_at: when the next attempt is due, Unix seconds; None if no attempt is scheduled.
        error: why the last attempt failed; None if no attempt has failed.
        oldest_event_at: the time of the oldest event, Unix seconds.
    """

    subscription: str
    topic: str
    partition: int
    next: int
    waiting: int
    attempts: int = 0
    failing_since: float | None = None
    next_try_at: float | None = None
    error: FailedAttempt | None = None
    oldest_event_at: float | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """The state of a worker at one moment.

    Attributes:
        at: the time of the announcement by the worker's clock, Unix seconds.
        partitions: the worker's open partitions.
        counts: the number of partitions of each source topic, as last read by the worker.
        lanes: live lanes with events in memory, at most `MOST_LANES`; lanes that are retrying come first.
        lanes_left_out: the number of live lanes with events in memory that `lanes` does not contain.
        successes: for each subscription, the time of its last delivery since the previous announcement; at most
            `MOST_SUCCESSES`.
        dead_letter_runs: for each subscription whose last events were dead-lettered, these dead letters; at most
            `MOST_DEAD_LETTER_RUNS`.
        slow_starts: for each subscription whose receiver was busy, the limited rate; at most `MOST_SLOW_STARTS`.
    """

    worker: str
    version: str
    started_at: float
    at: float
    ready: bool
    problem: str | None
    partitions: tuple[PartitionState, ...]
    counts: Mapping[str, int]
    delivered_per_second: float
    failed_per_second: float
    queued: int
    in_flight: int
    warnings: tuple[str, ...] = ()
    lanes: tuple[AnnouncedLane, ...] = ()
    lanes_left_out: int = 0
    successes: Mapping[str, float] | None = None
    slow_starts: Mapping[str, SlowStart] = field(default_factory=dict)
    dead_letter_runs: Mapping[str, DeadLetterRun] = field(default_factory=dict)


def encode(announcement: Announcement) -> bytes:
    """The value of the record: JSON."""
    found = announcement
    said = {
        "version": VERSION,
        "software": found.version,
        "startedAt": found.started_at,
        "at": found.at,
        "ready": found.ready,
        "problem": found.problem,
        "partitions": [_shown_partition(each) for each in found.partitions],
        "counts": dict(found.counts),
        "deliveredPerSecond": round(found.delivered_per_second, 2),
        "failedPerSecond": round(found.failed_per_second, 2),
        "queued": found.queued,
        "inFlight": found.in_flight,
        "warnings": list(found.warnings),
        "lanes": [_shown_lane(each) for each in found.lanes],
        "lanesLeftOut": found.lanes_left_out,
        "slowStarts": {
            name: [slow.revision, slow.per_second, round(slow.until, 3)] for name, slow in found.slow_starts.items()
        },
        "deadLetterRuns": {name: _shown_run(run) for name, run in found.dead_letter_runs.items()},
        "successes": {name: round(at, 3) for name, at in (found.successes or {}).items()},
    }
    return json.dumps(said, separators=(",", ":")).encode()


def _shown_partition(each: PartitionState) -> list[object]:
    """The partition as a list, which is shorter than an object: there may be a thousand partitions."""
    offsets = [each.committed, each.opened_at, each.dispatched, each.counted_to, each.end]
    return [each.topic, each.partition, each.is_counted, *offsets]


def _shown_run(run: DeadLetterRun) -> list[object]:
    return [run.count, round(run.since, 3), round(run.at, 3), run.message[:_LONGEST_MESSAGE], run.revision]


def _shown_lane(lane: AnnouncedLane) -> dict[str, Any]:
    shown = {
        "subscription": lane.subscription,
        "topic": lane.topic,
        "partition": lane.partition,
        "next": lane.next,
        "waiting": lane.waiting,
        "attempts": lane.attempts or None,
        "failingSince": lane.failing_since,
        "nextTryAt": lane.next_try_at,
        "error": None if lane.error is None else [lane.error.message, lane.error.at, lane.error.status],
        "oldestEventAt": lane.oldest_event_at,
    }
    return {name: value for name, value in shown.items() if value is not None}


def decode(worker: str, value: bytes) -> Announcement:
    """The inverse of `encode`.

    Args:
        worker: the key of the record.
        value: the value of the record.

    Raises:
        ValueError: *value* is not an announcement; the message names what is invalid. A lane, a partition or a
            success that can't be read is left out.
    """
    said = parse_object(value, LONGEST)
    lanes = tuple(_readable(_lane, _list(said, "lanes")[:MOST_LANES]))
    return Announcement(
        worker=worker,
        version=_text(said, "software"),
        started_at=moment(said, "startedAt"),
        at=moment(said, "at"),
        ready=said.get("ready") is True,
        problem=None if said.get("problem") is None else _text(said, "problem"),
        partitions=tuple(_readable(_partition, _list(said, "partitions"))),
        counts={name: count for name, count in _mapping(said, "counts").items() if is_whole(count)},
        delivered_per_second=_rate(said, "deliveredPerSecond"),
        failed_per_second=_rate(said, "failedPerSecond"),
        queued=whole(said, "queued"),
        in_flight=whole(said, "inFlight"),
        warnings=tuple(each for each in _list(said, "warnings")[:MOST_WARNINGS] if isinstance(each, str)),
        lanes=lanes,
        lanes_left_out=whole(said, "lanesLeftOut"),
        successes={name: at for name, at in _mapping(said, "successes").items() if is_moment(at)},
        dead_letter_runs=dict(_readable(_run, list(_mapping(said, "deadLetterRuns").items())[:MOST_DEAD_LETTER_RUNS])),
        slow_starts=dict(_readable(_slow_start, list(_mapping(said, "slowStarts").items())[:MOST_SLOW_STARTS])),
    )


def _readable(read: Any, values: Iterable[object]) -> Iterable[Any]:
    for value in values:
        try:
            yield read(value)
        except ValueError:
            continue


def _partition(value: object) -> PartitionState:
    match value:
        case [
            str(topic),
            int(partition),
            bool(is_counted),
            int() | None as committed,
            int(opened_at),
            int(dispatched),
            int(counted_to),
            int() | None as end,
            *_,
        ] if all(map(is_whole, (partition, committed or 0, opened_at, dispatched, counted_to, end or 0))):
            return PartitionState(topic, partition, committed, opened_at, dispatched, counted_to, is_counted, end)
    raise ValueError("it is not a partition")


def _lane(value: object) -> AnnouncedLane:
    if not isinstance(value, dict):
        raise ValueError("it is not a lane")  # noqa: TRY004 - every error of an announcement is a ValueError
    return AnnouncedLane(
        _text(value, "subscription"),
        _text(value, "topic"),
        whole(value, "partition"),
        whole(value, "next"),
        whole(value, "waiting"),
        whole(value, "attempts", default=0),
        moment_or_none(value, "failingSince"),
        moment_or_none(value, "nextTryAt"),
        _error(value.get("error")),
        moment_or_none(value, "oldestEventAt"),
    )


def _run(value: object) -> tuple[str, DeadLetterRun]:
    match value:
        case (str(name), [int(count), int() | float() as since, int() | float() as at, str(message), *more]) if (
            is_whole(count) and is_moment(since) and is_moment(at)
        ):
            revision = more[0] if more and is_whole(more[0]) else None  # older workers don't announce it
            return name, DeadLetterRun(count, float(since), float(at), message[:_LONGEST_MESSAGE], revision)
    raise ValueError("it is not a run of dead letters")


def _slow_start(value: object) -> tuple[str, SlowStart]:
    match value:
        case (str(name), [int(revision), int() | float() | None as per_second, int() | float() as until, *_]) if (
            is_moment(per_second or 0) and is_moment(until)
        ):
            return name, SlowStart(revision, per_second, float(until))
    raise ValueError("it is not a slow start")


def _error(value: object) -> FailedAttempt | None:
    match value:
        case None:
            return None
        case [str(message), int() | float() as at, int() | None as status] if is_moment(at):
            return FailedAttempt(message[:_LONGEST_TEXT], float(at), status)
    raise ValueError("a lane's error is malformed")


def _list(said: Mapping[str, Any], name: str) -> list[object]:
    found = said.get(name, [])
    if not isinstance(found, list):
        raise ValueError(f"its {name} is not a list")  # noqa: TRY004 - as above
    return found


def _mapping(said: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = said.get(name, {})
    if not isinstance(found, dict):
        raise ValueError(f"its {name} is not an object")  # noqa: TRY004 - as above
    return found


def _text(said: Mapping[str, Any], name: str) -> str:
    return text(said, name)[:_LONGEST_TEXT]


def _rate(said: Mapping[str, Any], name: str) -> float:
    found = said.get(name)
    if not is_moment(found):  # the same range
        raise ValueError(f"its {name} is not a number")
    return float(found)
