"""Cursor rows as JSON. Reading validates every value, because anyone with access to the topic may have written it."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from pipeline.core.attempts import Attempts, FailedAttempt, Probes
from pipeline.core.log_bounds import LARGEST_OFFSET
from pipeline.core.model import Cause, Cursor, Standing, Status
from pipeline.core.rows import Row, UnreadableRow

LONGEST_ROW: Final = 65_536
"""The largest row, in bytes. Workers write a few hundred bytes; a cause quotes at most a few hundred characters."""

_TOPIC_ID: Final = re.compile(rb"[A-Za-z0-9_-]{22}")
"""Sixteen bytes in base64url, as Kafka's tools show them."""
_LATEST: Final = 253_402_300_799.0
"""The last second of the year 9999 (RFC 3339 has no later one), Unix seconds."""


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
    row = _object(value)
    return Cursor(
        next=_whole(row, "next", LARGEST_OFFSET),
        status=_status(row),
        cause=_cause(row),
        attempt=_whole(row, "attempt", LARGEST_OFFSET, default=0),
        first_attempt_at=_moment_or_none(row, "firstAttemptAt"),
        not_before=_moment_or_none(row, "notBefore") or 0.0,
        revision=_whole(row, "revision", LARGEST_OFFSET, default=-1, least=-1),
        error=_error(row),
        event_ms=_whole_or_none(row, "eventMs", least=-LARGEST_OFFSET),
        standing=_standing(row),
        topic_id=None if row.get("topicId") is None else _text(row, "topicId"),
    )


def read_row(value: bytes) -> Row:
    """The row, or what is wrong with it; never raises."""
    try:
        return decode(value)
    except ValueError as error:
        return UnreadableRow(str(error), _next_offset(value))


def read_topic_id(value: bytes | None) -> str | None:
    """The topic id of a partition; None if *value* is not a topic id."""
    text = b"" if value is None else value
    return text.decode() if _TOPIC_ID.fullmatch(text) else None


def _next_offset(value: bytes) -> int | None:
    try:
        return _whole(_object(value), "next", LARGEST_OFFSET)
    except ValueError:
        return None


def _object(value: bytes) -> dict[str, Any]:
    if len(value) > LONGEST_ROW:
        raise ValueError(f"it has {len(value)} bytes; allowed: {LONGEST_ROW}")
    try:
        row = json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(row, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the one error of a row
    return row


def _status(row: Mapping[str, Any]) -> Status:
    text = _text(row, "status")
    if text not in tuple(Status):
        raise ValueError(f"its status is not one of {', '.join(Status)}")
    return Status(text)


def _cause(row: Mapping[str, Any]) -> Cause | None:
    cause = _part(row, "cause")
    if cause is None:
        return None
    offset = _whole_or_none(cause, "offset")
    return Cause(
        _text(cause, "kind"),
        _text(cause, "message"),
        offset,
        _moment(cause, "at"),
        _attempts(cause),
        _probes(cause),
    )


def _attempts(cause: Mapping[str, Any]) -> Attempts | None:
    found = _part(cause, "attempts")
    if found is None:
        return None
    return Attempts(_whole(found, "count", LARGEST_OFFSET), _moment(found, "since"), _whole_or_none(found, "status"))


def _probes(cause: Mapping[str, Any]) -> Probes | None:
    found = _part(cause, "probes")
    if found is None:
        return None
    return Probes(_whole(found, "made", LARGEST_OFFSET), _moment_or_none(found, "nextAt"))


def _standing(row: Mapping[str, Any]) -> Standing | None:
    found = _part(row, "lane")
    if found is None:
        return None
    return Standing(
        found.get("live") is True,
        _whole(found, "waitingAtMost", LARGEST_OFFSET),
        found.get("waiting") is not None,
        _whole(found, "dispatched", LARGEST_OFFSET),
        _moment_or_none(found, "lastSuccessAt"),
    )


def _error(row: Mapping[str, Any]) -> FailedAttempt | None:
    error = _part(row, "error")
    if error is None:
        return None
    return FailedAttempt(_text(error, "message"), _moment(error, "at"), _whole_or_none(error, "status"))


def _part(row: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    part = row.get(name)
    if part is not None and not isinstance(part, dict):
        raise ValueError(f"its {name} is not an object")
    return part


def _text(row: Mapping[str, Any], name: str) -> str:
    text = row.get(name)
    if not isinstance(text, str):
        raise ValueError(f"its {name} is not a string")  # noqa: TRY004 - as above
    return text


def _whole(row: Mapping[str, Any], name: str, most: int, *, default: int | None = None, least: int = 0) -> int:
    number = row.get(name, default)
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise ValueError(f"its {name} is not a whole number from {least} to {most}")
    return number


def _whole_or_none(row: Mapping[str, Any], name: str, least: int = 0) -> int | None:
    return None if row.get(name) is None else _whole(row, name, LARGEST_OFFSET, least=least)


def _moment(row: Mapping[str, Any], name: str) -> float:
    moment = row.get(name)
    if isinstance(moment, bool) or not isinstance(moment, int | float) or not 0 <= moment <= _LATEST:
        raise ValueError(f"its {name} is not a time in Unix seconds")
    return float(moment)


def _moment_or_none(row: Mapping[str, Any], name: str) -> float | None:
    return None if row.get(name) is None else _moment(row, name)
