"""Cursor rows as JSON. Reading validates every value, because anyone with access to the topic may have written it."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from pipeline.core.attempts import Attempts, FailedAttempt, Probes
from pipeline.core.log_bounds import LARGEST_OFFSET
from pipeline.core.model import Cause, Cursor, Row, Standing, Status, UnreadableRow
from pipeline.kafka.json_fields import moment, moment_or_none, parse_object, part, text, whole, whole_or_none

LONGEST_ROW: Final = 65_536
"""The largest row, in bytes. Workers write a few hundred bytes; a cause quotes at most a few hundred characters."""

_TOPIC_ID: Final = re.compile(rb"[A-Za-z0-9_-]{22}")
"""Sixteen bytes in base64url, as Kafka's tools show them."""


def encode(cursor: Cursor) -> bytes:
    """The value of the row's record: JSON, without empty fields."""
    row: dict[str, Any] = {"next": cursor.next, "status": cursor.status.value, "revision": cursor.revision}
    if cursor.attempt:
        row |= {"attempt": cursor.attempt, "firstAttemptAt": cursor.first_attempt_at, "notBefore": cursor.not_before}
        if cursor.error is not None:
            row["error"] = asdict(cursor.error)
    if cursor.event_ms is not None:
        row["eventMs"] = cursor.event_ms
    if cursor.standing is not None:
        row["lane"] = _shown_standing(cursor.standing)
    if cursor.topic_id is not None:
        row["topicId"] = cursor.topic_id
    cause = cursor.cause
    if cause is not None:
        row["cause"] = {"kind": cause.kind, "message": cause.message, "offset": cause.offset, "at": cause.at}
        if cause.attempts is not None:
            row["cause"]["attempts"] = asdict(cause.attempts)
        if cause.probes is not None:
            row["cause"]["probes"] = {"made": cause.probes.made, "nextAt": cause.probes.next_at}
    return json.dumps(row, separators=(",", ":")).encode()


def _shown_standing(standing: Standing) -> dict[str, Any]:
    return {
        "live": standing.is_live,
        "waiting": standing.waiting_at_most if standing.waiting_is_exact else None,
        "waitingAtMost": standing.waiting_at_most,
        "dispatched": standing.dispatched,
        "lastSuccessAt": standing.last_success_at,
    }


def decode(value: bytes) -> Cursor:
    """The inverse of `encode`. Ignores unknown fields, so an older worker can read a newer row.

    Raises:
        ValueError: *value* is not a row. The message names what is invalid.
    """
    row = parse_object(value, LONGEST_ROW)
    return Cursor(
        next=whole(row, "next"),
        status=_status(row),
        cause=_cause(row),
        attempt=whole(row, "attempt", default=0),
        first_attempt_at=moment_or_none(row, "firstAttemptAt"),
        not_before=moment_or_none(row, "notBefore") or 0.0,
        revision=whole(row, "revision", default=-1, least=-1),
        error=_error(row),
        event_ms=whole_or_none(row, "eventMs", least=-LARGEST_OFFSET),
        standing=_standing(row),
        topic_id=None if row.get("topicId") is None else text(row, "topicId"),
    )


def read_row(value: bytes) -> Row:
    """The row, or what is wrong with it; never raises."""
    try:
        return decode(value)
    except ValueError as error:
        return UnreadableRow(str(error), _next_offset(value))


def read_topic_id(value: bytes | None) -> str | None:
    """The topic id of a partition; None if *value* is not a topic id."""
    found = b"" if value is None else value
    return found.decode() if _TOPIC_ID.fullmatch(found) else None


def _next_offset(value: bytes) -> int | None:
    try:
        return whole(parse_object(value, LONGEST_ROW), "next")
    except ValueError:
        return None


def _status(row: Mapping[str, Any]) -> Status:
    status = text(row, "status")
    if status not in tuple(Status):
        raise ValueError(f"its status is not one of {', '.join(Status)}")
    return Status(status)


def _cause(row: Mapping[str, Any]) -> Cause | None:
    cause = part(row, "cause")
    if cause is None:
        return None
    offset = whole_or_none(cause, "offset")
    return Cause(
        text(cause, "kind"),
        text(cause, "message"),
        offset,
        moment(cause, "at"),
        _attempts(cause),
        _probes(cause),
    )


def _attempts(cause: Mapping[str, Any]) -> Attempts | None:
    found = part(cause, "attempts")
    if found is None:
        return None
    return Attempts(whole(found, "count"), moment(found, "since"), whole_or_none(found, "status"))


def _probes(cause: Mapping[str, Any]) -> Probes | None:
    found = part(cause, "probes")
    if found is None:
        return None
    return Probes(whole(found, "made"), moment_or_none(found, "nextAt"))


def _standing(row: Mapping[str, Any]) -> Standing | None:
    found = part(row, "lane")
    if found is None:
        return None
    return Standing(
        found.get("live") is True,
        whole(found, "waitingAtMost"),
        found.get("waiting") is not None,
        whole(found, "dispatched"),
        moment_or_none(found, "lastSuccessAt"),
    )


def _error(row: Mapping[str, Any]) -> FailedAttempt | None:
    error = part(row, "error")
    if error is None:
        return None
    return FailedAttempt(text(error, "message"), moment(error, "at"), whole_or_none(error, "status"))
