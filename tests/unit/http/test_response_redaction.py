"""What a receiver repeats of our secrets goes no further."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.model import BasicAuth, Header, JwtProfileAuth, OAuth2Auth, Subscription, TokenAuth
from pipeline.http.response_redaction import confidences, without

SECRET = b"planted-secret"


@pytest.mark.parametrize(
    ("excerpt", "expected"),
    [
        (b"no " + SECRET + b" here, " + SECRET, b"no *** here, ***"),
        (b"cut off: planted-sec", b"cut off: ***"),
        (b"cut off: pla", b"cut off: pla"),
        (b"nothing of ours", b"nothing of ours"),
        (b"", b""),
    ],
)
def test_secrets_are_masked_even_where_the_excerpt_cuts_them_off(excerpt: bytes, expected: bytes) -> None:
    assert without(excerpt, (SECRET,)) == expected


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_no_secret_remains_whatever_surrounds_it(before: bytes, after: bytes) -> None:
    assert SECRET not in without(before + SECRET + after, (SECRET,))


def test_all_that_the_receiver_was_told_in_confidence_is_known() -> None:
    headers = (Header("X-Key", "planted-header"), Header("X-Short", "abc"))
    basic = Subscription("s", 0, "http://h/", headers=headers, auth=BasicAuth("me", "planted-password"))
    assert set(confidences(basic, "Basic bWU6cGxhbnRlZA==")) == {
        b"planted-header",
        b"planted-password",
        b"Basic bWU6cGxhbnRlZA==",
        b"bWU6cGxhbnRlZA==",
    }
    token = Subscription("s", 0, "http://h/", auth=TokenAuth("planted-token"), signing_secrets=("whsec_planted",))
    assert set(confidences(token, None)) == {b"planted-token", b"whsec_planted"}
    oauth2 = Subscription("s", 0, "http://h/", auth=OAuth2Auth("http://t/", "id", "planted-client"))
    assert set(confidences(oauth2, "Bearer planted-access")) == {
        b"planted-client",
        b"planted-access",
        b"Bearer planted-access",
    }
    profile = JwtProfileAuth("http://t/", "i", "s", "a", b"planted \xff key of bytes", "HS256")
    assert confidences(Subscription("s", 0, "http://h/", auth=profile), None) == (b"planted \xff key of bytes",)
