"""The delivery state that the workers recorded in the cursor rows, and how commands show it."""

from collections.abc import Sequence
from typing import Any

from pipeline.cli.output import say
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


async def read_noted(settings: Settings, definition: Definition, subscription: str | None = None) -> Noted | str:
    """The rows of one subscription or all; a sentence if they can't be read, so that the rest can be shown."""
    source = definition.source
    keys = None if subscription is None else [subscription.encode()]
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
        "or is behind; (+N): also recorded in N other partitions. All other columns are the desired state."
    )


def summary(rows: Sequence[Row]) -> str:
    """The worst state recorded for a subscription, in a few words."""
    if not rows:
        return NOTHING
    worst = min(rows, key=lambda row: (_rank(row.cursor), -(row.waiting_at_most or 0)))
    more = f" (+{len(rows) - 1})" if len(rows) > 1 else ""
    return f"{_words(worst)}{more}"


def _rank(cursor: Cursor | None) -> int:
    if cursor is None or cursor.status is Status.FAILURE:
        return 0
    if cursor.status is Status.STARTED:
        return 1 if cursor.attempt else 2
    return 3


def _words(row: Row) -> str:
    cursor, waiting = row.cursor, row.waiting_at_most
    if cursor is None:
        return f"UNREADABLE ROW in partition {row.partition}"
    state = f"up to {waiting:,} waiting" if waiting else "up to date" if waiting == 0 else "waiting: not known"
    match cursor.status:
        case Status.FAILURE:
            since = None if cursor.cause is None else shown_time(cursor.cause.at)
            return f"FAILURE in partition {row.partition}" + ("" if since is None else f" since {since}")
        case Status.STARTED if cursor.attempt:
            return f"RETRYING in partition {row.partition}, failed attempts: {cursor.attempt}, {state}"
        case Status.STARTED:
            return state
        case status:
            return f"{status.value.upper()}, {state}"


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
