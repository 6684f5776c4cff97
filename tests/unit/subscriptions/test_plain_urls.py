"""The quick check of URLs accepts no URL that the thorough check refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.subscriptions.fields import PLAIN_URL, checked_in_parts


@given(st.from_regex(PLAIN_URL, fullmatch=True))
def test_a_plain_url_also_passes_the_full_check(url: str) -> None:
    assert checked_in_parts(url, "auth") == url


@pytest.mark.parametrize(
    "url",
    [
        "https://user@example.com",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com/{#request}",
        "https://example.com/a b",
        "https://example.com/a\n",
        "https:///path",
    ],
)
def test_a_url_that_fails_the_full_check_is_not_plain(url: str) -> None:
    assert PLAIN_URL.fullmatch(url) is None
