"""Reads the delivery state that workers recorded in the cursor rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.clock import shown_time
from pipeline.core.errors import BrokerError
from pipeline.core.model import Status
from pipeline.kafka.cursor_rows import StoredRow, read_rows
from pipeline.kafka.topics import cursors_topic
from pipeline.observability.shown import shown_cause, shown_error


@dataclass(frozen=True, slots=True)
class Noted:
    """The rows of each subscription, by id, and a sentence for each partition whose rows can't be read."""

    rows: Mapping[str, Sequence[StoredRow]]
    troubles: Sequence[str] = field(default_factory=tuple)

    def of(self, subscription: str) -> Sequence[StoredRow]:
        """The rows of a subscription."""
        return self.rows.get(subscription, ())


async def read_noted(settings: Settings, definition: Definition, ids: Iterable[str] | None = None) -> Noted | str:
    """Read the rows of some or all subscriptions. If they can't be read, returns a sentence, which callers show."""
    source = definition.source
    keys = None if ids is None else [each.encode() for each in ids]
    try:
        rows = await read_rows(source.connection, cursors_topic(settings.app), source.topics, keys)
    except BrokerError as error:
        return str(error)
    noted: dict[str, list[StoredRow]] = {}
    for row in rows.found:
        noted.setdefault(row.key.decode(errors="replace"), []).append(row)
    return Noted(noted, rows.troubles)


def has_failed(rows: Sequence[StoredRow]) -> bool:
    """Whether a subscription with these rows is in FAILURE in a partition."""
    return any(row.cursor is not None and row.cursor.status is Status.FAILURE for row in rows)


def shown(row: StoredRow) -> dict[str, Any]:
    """The row as JSON, with the field names of `/lanes`."""
    cursor = row.cursor
    if cursor is None:
        return {"topic": row.topic, "partition": row.partition, "status": None, "problem": "the row can't be read"}
    found: dict[str, Any] = {
        "topic": row.topic,
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
