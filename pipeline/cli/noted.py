"""How commands show the delivery state that the workers recorded in the cursor rows."""

from collections.abc import Sequence

from pipeline.cluster.joining import is_retrying
from pipeline.cluster.rows import Noted
from pipeline.core.clock import shown_time
from pipeline.core.model import Cause, Cursor, Status
from pipeline.core.shown import as_partitions
from pipeline.kafka.cursor_rows import Row
from pipeline.kafka.topics import cursors_topic

NOTHING = "-"
UNKNOWN = "?"


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


def _state(cursor: Cursor | None) -> tuple[int, str]:
    """The worst state is the smallest."""
    if cursor is None:
        return 0, ""
    if cursor.status is Status.FAILURE:
        return 1, cursor.status
    if cursor.status is Status.STARTED:
        return (2 if is_retrying(cursor) else 3), cursor.status
    return 4, cursor.status


def _words(rows: Sequence[Row]) -> str:
    """The state that these rows share, in words."""
    where = _where(rows)
    cursors = [row.cursor for row in rows if row.cursor is not None]
    if not cursors:
        return f"UNREADABLE ROW in {where}"
    counts = [row.waiting_at_most for row in rows if row.waiting_at_most is not None]
    waiting = f"up to {sum(counts):,} waiting" if sum(counts) else "up to date"
    waiting = waiting if len(counts) == len(rows) else "waiting: not known"
    match cursors[0].status:
        case Status.FAILURE:
            causes = [each.cause for each in cursors if each.cause is not None]
            since = f" since {shown_time(min(cause.at for cause in causes))}" if causes else ""
            return f"FAILURE in {where}{since}{_next_probe(causes)}"
        case Status.STARTED if is_retrying(cursors[0]):
            return f"RETRYING in {where}, failed attempts: {max(each.attempt for each in cursors)}, {waiting}"
        case Status.STARTED:
            return waiting
        case status:
            return f"{status.value.upper()}, {waiting}"


def _next_probe(causes: Sequence[Cause]) -> str:
    times = [each.probes.next_at for each in causes if each.probes is not None and each.probes.next_at is not None]
    return f", probing, next try at {shown_time(min(times))}" if times else ""


def _where(rows: Sequence[Row]) -> str:
    numbers: dict[str | None, list[int]] = {}
    for row in rows:
        numbers.setdefault(row.topic if row.is_of_several else None, []).append(row.partition)
    return ", ".join(as_partitions(each, topic) for topic, each in numbers.items())
