"""A complete answer, and its outcome for the event. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from pipeline.core.outcome import Delivered, Outcome, Rejected, ServerError

MAX_BODY_BYTES: Final = 65_536
"""How much of an answer's body is read. If the body is longer, the connection is closed without reading the rest."""

_LONGEST_DELAY_DIGITS: Final = 10  # three hundred years; longer numbers are ignored


@dataclass(slots=True)
class Answer:
    """A complete answer of any status. Not frozen, because one is made per event and freezing costs 5 % of its time.

    Attributes:
        headers: the headers by case-insensitive name; only the first one of a repeated header.
        body: the body as received, not decompressed and at most as long as requested.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


_DELIVERED: Final = {status: Delivered(status) for status in range(200, 300)}


def judge(answer: Answer, now: float, *, token_used: bool = False) -> Outcome:
    """The outcome of *answer*.

    Args:
        answer: the answer. Its body is the excerpt to keep.
        now: Unix seconds, to interpret a Retry-After that is a date.
        token_used: whether the request carried an OAuth 2.0 access token.
    """
    status = answer.status
    delivered = _DELIVERED.get(status)
    if delivered is not None:
        return delivered
    retry_after = retry_after_seconds(answer.headers.get("Retry-After"), now)
    if 100 <= status < 500:  # noqa: PLR2004 - the classes of RFC 9110 section 15
        return Rejected(status, answer.body, retry_after, token_used)
    return ServerError(status, answer.body, retry_after)


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """`Retry-After` (RFC 9110 section 10.2.3) as seconds from *now*, 0 for a date that has passed; None if unusable."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value) if len(value) <= _LONGEST_DELAY_DIGITS else None
    try:
        moment = parsedate_to_datetime(value)
        # A date without a zone, as in asctime's format, is in UTC, not in the worker's local time.
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
