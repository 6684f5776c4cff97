"""The delivery state that the workers recorded in the cursor rows, and how commands show it."""

from collections.abc import Iterable, Sequence
from typing import Any

from pipeline.cli.output import as_partitions, say
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.clock import shown_time
from pipeline.core.errors import BrokerError
from pipeline.core.model import Cursor, Status
from pipeline.kafka.cursor_rows import Row, read_rows
from pipeline.kafka.topics import cursors_topic
from pipeline.observability.shown import shown_cause, shown_error

Noted = dict[str, list[Row]]
"""The rows of each subscription, by id."""

NOTHING = "-"
UNKNOWN = "?"


async def read_noted(settings: Settings, definition: Definition, ids: Iterable[str] | None = None) -> Noted | str:
    """The rows of some subscriptions or all; a sentence if they can't be read, so that the rest can be shown."""
    source = definition.source
    keys = None if ids is None else [each.encode() for each in ids]
    try:
        rows = await read_rows(source.connection, cursors_topic(settings.app), source.topic, keys)
    except BrokerError as error:
        return str(error)
    for trouble in rows.troubles:
        say(trouble, err=True)
    noted: Noted = {}
    for row in rows.found:
        noted.setdefault(row.key.decode(errors="replace"), []).append(row)
    return noted


def legend(app: str, noted: Noted | str) -> str:
    """Explains the source of the delivery state."""
    if isinstance(noted, str):
        return f"delivery state unknown: the workers' rows can't be read: {noted}"
    return (
        f"delivery: the state that the workers recorded in {cursors_topic(app)}; without an entry, nothing has failed "
        "or is behind; (+N): N other partitions have a less severe one. All other columns are the desired state."
    )


def summary(rows: Sequence[Row]) -> str:
    """The worst state recorded for a subscription and the partitions where it is in that, in a few words."""
    if not rows:
        return NOTHING
    worst = min(_state(row.cursor) for row in rows)
    there = [row for row in rows if _state(row.cursor) == worst]
    more = f" (+{len(rows) - len(there)})" if len(rows) > len(there) else ""
    return f"{_words(there)}{more}"


def has_failed(rows: Sequence[Row]) -> bool:
    """Whether a subscription is in FAILURE in one of these partitions."""
    return any(row.cursor is not None and row.cursor.status is Status.FAILURE for row in rows)


def _state(cursor: Cursor | None) -> tuple[int, str]:
    """The worst is the least."""
    if cursor is None:
        return 0, ""
    if cursor.status is Status.FAILURE:
        return 1, cursor.status
    if cursor.status is Status.STARTED:
        return (2 if _is_retrying(cursor) else 3), cursor.status
    return 4, cursor.status


def _is_retrying(cursor: Cursor) -> bool:
    """Whether an attempt has failed; a row may be written while the first one is under way."""
    return cursor.error is not None or cursor.attempt > 1 or bool(cursor.not_before)


def _words(rows: Sequence[Row]) -> str:
    """The state that all of these have."""
    where = as_partitions([row.partition for row in rows])
    cursors = [row.cursor for row in rows if row.cursor is not None]
    if not cursors:
        return f"UNREADABLE ROW in {where}"
    counts = [row.waiting_at_most for row in rows if row.waiting_at_most is not None]
    waiting = f"up to {sum(counts):,} waiting" if sum(counts) else "up to date"
    waiting = waiting if len(counts) == len(rows) else "waiting: not known"
    match cursors[0].status:
        case Status.FAILURE:
            since = min((each.cause.at for each in cursors if each.cause is not None), default=None)
            return f"FAILURE in {where}" + ("" if since is None else f" since {shown_time(since)}")
        case Status.STARTED if _is_retrying(cursors[0]):
            return f"RETRYING in {where}, failed attempts: {max(each.attempt for each in cursors)}, {waiting}"
        case Status.STARTED:
            return waiting
        case status:
            return f"{status.value.upper()}, {waiting}"


def shown(row: Row) -> dict[str, Any]:
    """The row as JSON, with the field names of `/lanes`."""
    cursor = row.cursor
    if cursor is None:
        return {"partition": row.partition, "status": None, "problem": "the row can't be read"}
    found: dict[str, Any] = {
        "partition": row.partition,
        "status": cursor.status.value,
        "next": cursor.next,
        "waitingAtMost": row.waiting_at_most,
        "oldestEventAt": None if cursor.event_ms is None else shown_time(cursor.event_ms / 1000),
        "attempt": cursor.attempt or None,
        "firstAttemptAt": None if cursor.first_attempt_at is None else shown_time(cursor.first_attempt_at),
        "notBefore": shown_time(cursor.not_before),
        "error": None if cursor.error is None else shown_error(cursor.error),
        "cause": None if cursor.cause is None else shown_cause(cursor.cause),
        "revision": cursor.revision,
    }
    return {name: value for name, value in found.items() if value is not None}
