"""Checks of a subscription's fields: times, URLs, text without control characters."""

import re
from datetime import UTC, datetime
from typing import Final

from pipeline.config.definition_schema import EXPRESSION
from pipeline.config.model_fields import split_url
from pipeline.config.schema import problem
from pipeline.core.clock import SystemClock, rfc3339
from pipeline.core.credentials import change_query_credentials
from pipeline.core.shown import shown

LONGEST_URL: Final = 8192
ENCRYPTED: Final = "enc:"
"""The prefix of an encrypted secret (secrets.py)."""

_AGO: Final = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_UNIX: Final = re.compile(r"\d{9,}(\.\d+)?", re.ASCII)
"""A number with fewer digits is probably a year, or a date without hyphens."""
_DAYS_BACK: Final = {"today": 0, "yesterday": 1}
TIMES: Final = (
    "10m, 2h or 3d (that long ago), today or yesterday (in UTC), Unix seconds, or an ISO 8601 time with a zone"
)
"""The forms that `moment` reads, for help and errors."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
PLAIN_URL: Final = re.compile(
    r"https?://[A-Za-z0-9.-]+(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}))?(?:[/?][A-Za-z0-9._~/?=&%+-]*)?"
)
"""Matches most of the URLs that `checked_in_parts` accepts, and no other URLs, in a tenth of the time."""


def has_controls(text: str) -> bool:
    """Whether a text has control characters (a tab is one), which RFC 9110 section 5.5 and URLs forbid."""
    return _CONTROL.search(text) is not None


def instant(text: str) -> float:
    """Unix seconds of an ISO 8601 time with its zone.

    Raises:
        PydanticCustomError: *text* is not such a time. If `moment` can read it, the message shows it in ISO 8601.
    """
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return (time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    except (ValueError, OverflowError):
        pass
    now = SystemClock().now()
    told = _told(text, now)
    example = None if told is None or told < 0 else rfc3339(told)
    if example is None:
        raise problem(f"{shown(text)} is not an ISO 8601 time with a zone, such as 2026-01-31T08:00:00Z")
    # A document is read many times, and a relative time would change each time.
    raise problem(f"{shown(text)} is not an ISO 8601 time with a zone; write {example}")


def moment(text: str, now: float) -> float:
    """Unix seconds of a time as people write it.

    Args:
        text: `10m` (s, m, h, d or w: that long ago), `today` or `yesterday` (its beginning in UTC), Unix seconds, or an
            ISO 8601 time with its zone.
        now: the current time, Unix seconds.

    Raises:
        PydanticCustomError: *text* is none of these, or the time is before 1970, after 9999 or after *now*.
    """
    found = _told(text, now)
    if found is None:
        try:
            found = instant(text)
        except ValueError:
            raise problem(f"{shown(text)} is not a time; allowed: {TIMES}, such as 2026-01-31T08:00:00Z") from None
    if found < 0:
        raise problem(f"{shown(text)} is before 1970")
    if rfc3339(found) is None:
        raise problem(f"{shown(text)} is after the year 9999; Unix times are in seconds, not milliseconds")
    if found > now:
        raise problem(f"{shown(text)} is in the future; allowed: a past time")
    return found


def as_instant(text: str, now: float) -> str:
    """*text* as an ISO 8601 time for `instant`; an ISO 8601 time is unchanged. Raises the errors of `moment`."""
    found = moment(text, now)
    if _told(text, now) is None:
        return text
    return rfc3339(found, "seconds" if found.is_integer() else "milliseconds") or ""


def _told(text: str, now: float) -> float | None:
    """Unix seconds of the forms that only `moment` reads; None for any other text."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - int(ago[1]) * _SECONDS[ago[2]]
    if text in _DAYS_BACK:
        return now - now % 86_400 - _DAYS_BACK[text] * 86_400
    return float(text) if _UNIX.fullmatch(text) else None


def check_url(url: str, credentials_field: str) -> str:
    """Return *url* if it is an absolute HTTP URL of a limited length, without credentials.

    Args:
        url: the URL. Errors do not show it, because it may contain credentials.
        credentials_field: the field that takes credentials, named in the error.

    Raises:
        PydanticCustomError: *url* is not such a URL.
    """
    if len(url) > LONGEST_URL:
        _check_length(url)
    return url if PLAIN_URL.fullmatch(url) else checked_in_parts(url, credentials_field)


def _check_length(url: str) -> None:
    """Refuse a URL that is too long. Encrypted credentials in its query are longer than plain ones."""
    length = len(change_query_credentials(url, lambda _, value: "" if value.startswith(ENCRYPTED) else value))
    if length > LONGEST_URL:
        raise problem(f"has {length} characters; allowed: 1 to {LONGEST_URL}")


def checked_in_parts(url: str, credentials_field: str) -> str:
    """Check a URL by its parts, and return it."""
    if not url.startswith(("http://", "https://")):
        raise problem("must begin with http:// or https://")
    if has_controls(url) or " " in url or "\\" in url:
        raise problem("must not contain spaces, backslashes or control characters")
    if EXPRESSION in url:
        raise problem("contains an expression ({#...}), which is not supported; write the value itself")
    parts = split_url(url)
    if parts is None:
        raise problem("is not a URL: its host or port can't be read")
    if "@" in parts.netloc and (parts.username is not None or parts.password is not None):
        raise problem(f"must not contain a user name or password; put credentials into {credentials_field}")
    if not parts.hostname or parts.port == 0:
        raise problem("must name a host, and optionally a port from 1 to 65535")
    return url
