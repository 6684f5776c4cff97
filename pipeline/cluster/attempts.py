"""The format of `<app>.attempts`: the results of attempts, and of events. Pure.

A record contains the results of one worker about one source partition from a fifth of a second. Its key is
`<topic>/<partition>`, followed by `/late` if the events were older than a minute. So a search for an event reads all
records of the first minutes after its timestamp, and after that only records with `/late`. The value is JSON:

    {"kind": "notes", "v": 1, "worker": "a:6066#3f2a", "topic": "events", "partition": 3, "at": 1769846400.2,
     "delivered": [["sub-1", "a.example", 1, 200, [100, 1, 4], [12, 8, 9]]],
     "settled":   [["sub-2", "dropped", "lane-full", [104, 2]]],
     "ranges":    [["sub-3", "dropped", "discarded", 40, 90]],
     "entries":   [{"subscription": "sub-4", "offset": 107, "decision": "retry", "status": 503, ...}],
     "lost":      [[17, 90, 120]]}

Most results are deliveries, so their format is compact: subscription, host, attempt, status, offsets (the first one,
then the differences), and durations in milliseconds. `lost` has numbers of dropped results, with the first and last
offset.

The offset of an entry is the offset in the event's webhook-id. If the event was redriven, `position` is its new
position.

A worker also writes records with the key `session` to every partition of the log. While the worker runs, these records
say which attempts it logs. The last one says that the worker has ended. If that one is missing, the worker was killed,
and its last results are lost.
"""

import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.core.clock import rfc3339
from pipeline.core.log_bounds import LARGEST_OFFSET

VERSION: Final = 1
SESSION_KEY: Final = b"session"

RecordedDecision = Literal["delivered", "retry", "dead-letter", "dead-lettered", "failure", "dropped", "skipped"]
"""What follows an attempt. dead-letter: a dead letter will be written; dead-lettered: the broker has confirmed it."""
_NUMBER: Final = re.compile("[0-9]{1,19}")
"""The pattern allows as many digits as the largest offset has. With more than 4,300 digits, Python's `int` raises an
error."""
FINAL: Final = frozenset({"delivered", "dead-lettered", "dropped", "skipped"})
"""The decisions that settle an event."""
LogMode = Literal["all", "failures", "off"]
"""Which attempts are logged. failures: all but deliveries at the first attempt."""

Offset = Annotated[int, Field(ge=0, le=LARGEST_OFFSET)]
Count = Annotated[int, Field(ge=0)]
Moment = Annotated[float, Field(ge=0, le=253_402_300_799, allow_inf_nan=False)]
"""Unix seconds until the year 9999."""
EventPosition = tuple[str, Count, Offset]
"""Topic, partition and offset."""

DeliveredRun = tuple[str, str, Count, Count, list[int], list[Count]]
SettledRun = tuple[str | None, RecordedDecision, str, list[int]]
Range = tuple[str | None, RecordedDecision, str, Offset, Offset]
Lost = tuple[Count, Offset, Offset]


@dataclass(slots=True)
class Result:
    """The details of an attempt that did not deliver an event, or of the end of an event.

    Attributes:
        offset: the offset in the webhook-id, of the `Results`' partition; None for a FAILURE that no event caused.
        at: the time, Unix seconds.
        position: the position of the event if it was redriven.
        reason: the rule of a drop, the reason of a dead letter, or the kind of a FAILURE.
        response: the beginning of the answer, with secrets masked.
        next_at: when the next attempt is due, Unix seconds.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, populate_by_name=True)

    subscription: str | None
    offset: Offset | None
    at: Moment
    decision: RecordedDecision | None = None
    position: EventPosition | None = None
    reason: str | None = None
    attempt: Count | None = None
    host: str | None = None
    status: Count | None = None
    duration_ms: Annotated[Count | None, Field(alias="durationMs")] = None
    error: str | None = None
    response: str | None = None
    next_at: Annotated[Moment | None, Field(alias="nextAt")] = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One result of the attempt log, with the id and the position of its event.

    The record in the log is a `Result`, or `Results`, which contains several in compact form. Without an event, id and
    position are None.
    """

    webhook_id: str | None
    position: EventPosition | None
    result: Result

    @property
    def subscription(self) -> str | None:
        """The id of the subscription; None if the event was for no known subscription."""
        return self.result.subscription

    def as_document(self) -> dict[str, Any]:
        """The entry as JSON, without unknown values."""
        result, position = self.result, self.position
        found: dict[str, Any] = {
            "at": rfc3339(result.at, "milliseconds"),
            "subscription": result.subscription,
            "webhookId": self.webhook_id,
            "topic": position and position[0],
            "partition": position and position[1],
            "offset": position and position[2],
            "decision": result.decision,
            "reason": result.reason,
            "attempt": result.attempt,
            "host": result.host,
            "status": result.status,
            "durationMs": result.duration_ms,
            "error": result.error,
            "response": result.response,
            "nextAt": None if result.next_at is None else rfc3339(result.next_at, "milliseconds"),
        }
        return {name: value for name, value in found.items() if value is not None}

    @property
    def is_final(self) -> bool:
        """Whether this entry settled the event for its subscription."""
        return self.result.decision in FINAL


@dataclass(slots=True)
class Results:
    """A record of the log, as the module describes it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True)

    worker: str
    topic: str
    partition: Count
    at: Moment
    delivered: list[DeliveredRun] = field(default_factory=list)
    settled: list[SettledRun] = field(default_factory=list)
    ranges: list[Range] = field(default_factory=list)
    entries: list[Result] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    kind: Literal["notes"] = "notes"
    v: Literal[1] = VERSION

    def of(self, subscription: str | None = None, offset: int | None = None) -> Iterator[Entry]:
        """Entries of the record except `ranges`. An argument of None selects all subscriptions or all events."""
        for result in self._results(subscription):
            if offset in {None, result.offset}:
                yield self._entry(result)

    def _results(self, subscription: str | None) -> Iterator[Result]:
        for name, host, attempt, status, offsets, times in self.delivered:
            if subscription in {None, name}:
                for offset, milliseconds in zip(expanded(offsets), times, strict=True):
                    yield Result(name, offset, self.at, "delivered", None, None, attempt, host, status, milliseconds)
        for owner, decision, reason, offsets in self.settled:
            if subscription in {None, owner}:
                for offset in expanded(offsets):
                    yield Result(owner, offset, self.at, decision, None, reason)
        yield from (result for result in self.entries if subscription in {None, result.subscription})

    def ranges_with(self, offset: int) -> Iterator[Entry]:
        """Entries about ranges that contain *offset*. The log does not say which events of a range are affected."""
        for owner, decision, reason, first, last in self.ranges:
            if first <= offset <= last:
                yield self._entry(Result(owner, offset, self.at, decision, None, reason))

    def _entry(self, result: Result) -> Entry:
        if result.offset is None:
            return Entry(None, None, result)
        first = self.topic, self.partition, result.offset
        return Entry("{}-{}-{}".format(*first), result.position or first, result)


@dataclass(frozen=True, slots=True)
class Session:
    """A worker's record that it is logging.

    Attributes:
        since: when the worker began to log, Unix seconds.
        mode: which attempts it logs.
        is_closed: the worker has ended, and all of its results are in the log.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, populate_by_name=True)

    worker: str
    at: Moment
    since: Moment
    mode: LogMode
    is_closed: Annotated[bool, Field(alias="isClosed")] = False
    kind: Literal["session"] = "session"
    v: Literal[1] = VERSION


_RECORDS: Final[TypeAdapter[Results | Session]] = TypeAdapter(Annotated[Results | Session, Field(discriminator="kind")])


def encode(record: Results | Session) -> bytes:
    """The value of the record."""
    return (
        b'{"v":1,"kind":"%s",' % record.kind.encode()
        + _RECORDS.dump_json(record, by_alias=True, exclude_defaults=True)[1:]
    )


def decode(value: bytes | None) -> Results | Session:
    """The record in a value, which anyone may have written.

    Raises:
        ValueError: *value* is not a record of the log.
    """
    try:
        record = _RECORDS.validate_json(value or b"")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if isinstance(record, Results):
        for *_, offsets, times in record.delivered:
            _check(offsets)
            if len(offsets) != len(times):
                raise ValueError(f"delivered: {len(offsets)} offsets with {len(times)} durations")
        for *_, offsets in record.settled:
            _check(offsets)
    return record


def decoded(value: bytes | None) -> Results | Session | None:
    """The result of `decode`; None if `decode` raises an error, because anyone may have written to the log."""
    try:
        return decode(value)
    except ValueError:
        return None


def compacted(offsets: Sequence[int]) -> list[int]:
    """The first offset, followed by the differences between offsets."""
    return [*offsets[:1], *map(operator.sub, offsets[1:], offsets)]


def expanded(distances: Iterable[int]) -> Iterator[int]:
    """The inverse of `compacted`."""
    return accumulate(distances)


def _check(distances: list[int]) -> None:
    if distances and not (min(expanded(distances)) >= 0 and max(expanded(distances)) <= LARGEST_OFFSET):
        raise ValueError("an offset is negative or too large")


def key_of(topic: str, partition: int, *, is_late: bool) -> bytes:
    """The key of records about a partition of the source topic."""
    return f"{topic}/{partition}{'/late' if is_late else ''}".encode()


def parse_id(webhook_id: str) -> EventPosition | None:
    """Parse `<topic>-<partition>-<offset>`; None if the id has another form."""
    topic, *numbers = webhook_id.rsplit("-", 2)
    if not topic or len(numbers) != 2 or not all(map(_NUMBER.fullmatch, numbers)):  # noqa: PLR2004 - partition, offset
        return None
    partition, offset = map(int, numbers)
    # The ids are compared as text, because an id with leading zeros is a different id.
    is_same = offset <= LARGEST_OFFSET and f"{topic}-{partition}-{offset}" == webhook_id
    return (topic, partition, offset) if is_same else None
