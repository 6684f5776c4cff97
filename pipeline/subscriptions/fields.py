"""Checks of a subscription's fields: times, URLs, text without control characters."""

import re
from datetime import UTC, datetime
from typing import Final

from pipeline.config.definition_schema import EXPRESSION
from pipeline.config.schema import problem
from pipeline.core.shown import shown
from pipeline.core.urls import split_url

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def has_controls(text: str) -> bool:
    """Whether a text has control characters, tabs included; RFC 9110 section 5.5 and URLs forbid them."""
    return _CONTROL.search(text) is not None


def instant(text: str) -> float:
    """Unix seconds of an ISO 8601 time with its zone.

    Raises:
        PydanticCustomError: it is not such a time.
    """
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return (time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    except (ValueError, OverflowError):
        pass
    raise problem(f"{shown(text)} is not an ISO 8601 time with a zone, such as 2026-01-31T08:00:00Z")


def check_url(url: str, credentials_field: str) -> str:
    """*url*, if it is an absolute HTTP URL without credentials.

    Args:
        url: not shown in errors, because it may contain credentials.
        credentials_field: the field where credentials belong instead.

    Raises:
        PydanticCustomError: it is not such a URL.
    """
    if not url.startswith(("http://", "https://")):
        raise problem("must begin with http:// or https://")
    if has_controls(url) or " " in url or "\\" in url:
        raise problem("must not contain spaces, backslashes or control characters")
    if EXPRESSION in url:
        raise problem("contains an expression ({#...}), which is not supported; write the value itself")
    parts = split_url(url)
    if parts is None:
        raise problem("is not a URL: its host or port can't be read")
    if parts.username is not None or parts.password is not None:
        raise problem(f"must not contain a user name or password; put credentials into {credentials_field}")
    if not parts.hostname or parts.port == 0:
        raise problem("must name a host, and a port from 1 to 65535 if any")
    return url
