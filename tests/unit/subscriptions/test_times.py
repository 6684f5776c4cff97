"""The forms of times that users may write."""

import re

import pytest

from pipeline.subscriptions.fields import as_instant, moment

NOON = 1_769_860_800.25
"""2026-01-31T12:00:00.250Z"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("90s", "2026-01-31T11:58:30.250Z"),
        ("10m", "2026-01-31T11:50:00.250Z"),
        ("2h", "2026-01-31T10:00:00.250Z"),
        ("3d", "2026-01-28T12:00:00.250Z"),
        ("1w", "2026-01-24T12:00:00.250Z"),
        ("today", "2026-01-31T00:00:00Z"),
        ("yesterday", "2026-01-30T00:00:00Z"),
        ("1769860800", "2026-01-31T12:00:00Z"),
        ("1769860800.125", "2026-01-31T12:00:00.125Z"),
        ("2026-01-31T12:00:00+02:00", "2026-01-31T12:00:00+02:00"),
    ],
)
def test_all_documented_forms_of_times_are_read(text: str, found: str) -> None:
    assert as_instant(text, NOON) == found
    assert abs(moment(text, NOON) - moment(found, NOON)) < 0.001


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("soon", '"soon" is not a time; allowed: 10m, 2h or 3d (that long ago), today or yesterday'),
        ("10", '"10" is not a time'),
        ("20260131", '"20260131" is not a time'),
        ("-10m", '"-10m" is not a time'),
        ("1h30m", '"1h30m" is not a time'),
        ("٣d", '"٣d" is not a time'),
        ("2026-01-31T12:00:00", "or an ISO 8601 time with a zone, such as 2026-01-31T08:00:00Z"),
        ("1969-12-31T00:00:00Z", "is before 1970"),
        ("99999d", "is before 1970"),
        ("2026-01-31T12:00:01Z", "is in the future; allowed: a past time"),
        ("1769860801", "is in the future"),
        ("1769860800000", "are in seconds, not milliseconds"),
        ("9" * 400, "are in seconds, not milliseconds"),
    ],
)
def test_an_invalid_time_is_refused_with_the_allowed_forms(text: str, sentence: str) -> None:
    for read in (moment, as_instant):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            read(text, NOON)
