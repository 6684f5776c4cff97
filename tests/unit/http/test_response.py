import time
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from pipeline.core.outcome import Delivered, Outcome, Rejected, ServerError
from pipeline.http.response import Answer, judge, retry_after_seconds

NOW = 1_445_412_400.0  # Wed, 21 Oct 2015 07:26:40 GMT


def answer(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, CIMultiDict(headers or {}), b"body")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (100, Rejected(100, b"body")),
        (199, Rejected(199, b"body")),
        (200, Delivered(200)),
        (299, Delivered(299)),
        (300, Rejected(300, b"body")),
        (499, Rejected(499, b"body")),
        (500, ServerError(500, b"body")),
        (599, ServerError(599, b"body")),
        (600, ServerError(600, b"body")),
        (999, ServerError(999, b"body")),
    ],
)
def test_the_status_of_an_answer_decides_the_outcome(status: int, expected: Outcome) -> None:
    assert judge(answer(status), NOW) == expected


def test_deliveries_with_equal_status_share_one_outcome() -> None:
    assert judge(answer(204), NOW) is judge(answer(204), NOW)


def test_a_rejection_says_whether_a_token_was_sent() -> None:
    assert judge(answer(401), NOW, token_used=True) == Rejected(401, b"body", token_used=True)


def test_a_retry_after_header_is_found_in_any_case() -> None:
    assert judge(answer(503, {"RETRY-after": "5"}), NOW) == ServerError(503, b"body", 5.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("9999999999", 9_999_999_999.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 80.0),
        ("Wednesday, 21-Oct-15 07:28:00 GMT", 80.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
        ("", None),
        ("-1", None),
        ("+5", None),
        ("1.5", None),
        ("soon", None),
        ("²", None),
        ("١٢", None),
        ("1" * 11, None),
        ("1" * 10_000, None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("\0", None),
    ],
)
def test_a_retry_after_header_becomes_seconds_or_is_ignored(value: str | None, expected: float | None) -> None:
    assert retry_after_seconds(value, NOW) == expected


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
@pytest.mark.parametrize(
    "value",
    ["Wed Oct 21 07:28:00 2015", "Wed, 21 Oct 2015 07:28:00", "Wed, 21 Oct 2015 07:28:00 -0000"],
    ids=["asctime", "no zone", "unknown zone"],
)
def test_a_retry_after_date_without_a_zone_is_in_utc(value: str) -> None:
    assert retry_after_seconds(value, NOW) == 80.0


@given(st.text())
def test_any_retry_after_header_is_read_without_an_error(value: str) -> None:
    seconds = retry_after_seconds(value, NOW)
    assert seconds is None or seconds >= 0
