"""Warnings about bearer tokens that expire."""

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.auth.jwt_expiry import expiry_warning

NOW = 1_700_000_000
DAY = 86400


def token(claims: dict[str, object]) -> str:
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


@pytest.mark.parametrize(
    ("exp", "warning"),
    [
        (NOW - 1, "the bearer token expired at 2023-11-14T22:13:19Z"),
        (NOW, "the bearer token expired at 2023-11-14T22:13:20Z"),
        (NOW + 1, "the bearer token expires at 2023-11-14T22:13:21Z"),
        (NOW + 0.5, "the bearer token expires at 2023-11-14T22:13:20Z"),
        (NOW + 7 * DAY, "the bearer token expires at 2023-11-21T22:13:20Z"),
        (NOW + 7 * DAY + 1, None),
        (0, "the bearer token expired at 1970-01-01T00:00:00Z"),
        (-(10**12), None),
        (10**18, None),
    ],
)
def test_a_past_or_near_expiry_causes_a_warning(exp: float, warning: str | None) -> None:
    assert expiry_warning(token({"exp": exp}), NOW) == warning


@pytest.mark.parametrize("exp", [None, "1699999999", True, [1], {}, 1e999])
def test_an_expiry_that_is_not_a_time_causes_no_warning(exp: object) -> None:
    assert expiry_warning(token({"exp": exp} if exp is not None else {}), NOW) is None


def test_the_signature_is_not_verified() -> None:
    assert expiry_warning(token({"exp": 1})[:-8] + "AAAAAAAA", NOW) is not None


def test_claims_other_than_the_expiry_are_ignored() -> None:
    claims = {"exp": 1, "nbf": NOW + DAY, "iat": NOW + DAY, "aud": "somebody else", "sub": 7, "jti": 9}
    assert expiry_warning(token(claims), NOW) is not None


@pytest.mark.parametrize("opaque", ["", "opaque", "a.b", "a.b.c", "a.b.c.d.e", "eyJhbGciOiJIUzI1NiJ9.e30", "é.ü.ß"])
def test_an_opaque_token_causes_no_warning(opaque: str) -> None:
    assert expiry_warning(opaque, NOW) is None


@given(st.text())
def test_any_text_in_place_of_a_token_is_read_without_an_error(text: str) -> None:
    assert expiry_warning(text, NOW) is None


def test_the_warning_does_not_contain_the_token() -> None:
    value = token({"exp": NOW - 1})
    warning = expiry_warning(value, NOW)
    assert warning is not None
    assert not any(part in warning for part in value.split("."))
