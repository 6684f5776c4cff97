"""Secrets that a receiver repeats in its answer are masked."""

import base64
import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.outcome import RESPONSE_EXCERPT_BYTES
from pipeline.core.subscription import BasicAuth, Header, JwtProfileAuth, OAuth2Auth, Subscription, TokenAuth
from pipeline.http.response_redaction import as_utf8, masked_excerpt, secrets_of, whole_characters

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
def test_a_secret_that_is_cut_off_in_an_answer_is_masked(excerpt: bytes, expected: bytes) -> None:
    assert masked_excerpt(excerpt, (SECRET,)) == expected


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_no_secret_remains_whatever_text_surrounds_it(before: bytes, after: bytes) -> None:
    assert SECRET not in masked_excerpt(before + SECRET + after, (SECRET,))


KEY = bytes(range(200, 232))
SIGNING = "whsec_" + base64.b64encode(KEY).decode()
HEADERS = (
    Header("X-Key", "planted/header+1"),
    Header("Authorization", "Basic " + base64.b64encode(b"me:pass-1").decode()),
)
SIGNS = "p+/<a&b>='\"!ä"


def escaped(secret: str, signs: str, form: str) -> str:
    """*secret* in JSON, with *signs* escaped in the given *form*."""
    return "".join(form.format(ord(each)) if each in signs else each for each in json.dumps(secret)[1:-1])


TOLD: dict[str, tuple[Subscription, str | None, str]] = {
    "a header": (Subscription("s", 0, "http://h/", headers=HEADERS), None, "planted/header+1"),
    "a password in a header": (Subscription("s", 0, "http://h/", headers=HEADERS), None, "pass-1"),
    "a password": (Subscription("s", 0, "http://h/", auth=BasicAuth("me", 'pä"ss word')), None, 'pä"ss word'),
    "a password of signs": (Subscription("s", 0, "http://h/", auth=BasicAuth("me", SIGNS)), None, SIGNS),
    "a token": (Subscription("s", 0, "http://h/", auth=TokenAuth("planted-token")), None, "planted-token"),
    "a signing secret": (Subscription("s", 0, "http://h/", signing_secrets=(SIGNING,)), None, SIGNING),
    "a signing key": (Subscription("s", 0, "http://h/", signing_secrets=(SIGNING,)), None, SIGNING[6:]),
    "a client secret": (
        Subscription("s", 0, "http://h/", auth=OAuth2Auth("http://t/", "i", "client-1")),
        None,
        "client-1",
    ),
    "an access token": (Subscription("s", 0, "http://h/"), "Bearer planted-access", "planted-access"),
    "a query": (Subscription("s", 0, "http://h/?sig=a%2Fb%2Bc"), None, "a/b+c"),
    "a query as it is sent": (Subscription("s", 0, "http://h/?sig=a%2Fb%2Bc"), None, "a%2Fb%2Bc"),
}
FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda secret: secret,
    "base64": lambda secret: base64.b64encode(secret.encode()).decode(),
    "base64 without padding": lambda secret: base64.b64encode(secret.encode()).decode().rstrip("="),
    "base64 for URLs": lambda secret: base64.urlsafe_b64encode(secret.encode()).decode(),
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "form-encoded": quote_plus,
    "JSON": lambda secret: json.dumps(secret)[1:-1],
    "JSON in UTF-8": lambda secret: json.dumps(secret, ensure_ascii=False)[1:-1],
    "HTML": html.escape,
    "percent-encoded in small letters": lambda secret: re.sub("%..", lambda it: it[0].lower(), quote(secret, safe="")),
    "percent-encoded by JavaScript": lambda secret: quote(secret, safe="!'()*"),
    "JSON of PHP": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
    "JSON of Go": lambda secret: escaped(secret, "<>&", r"\u{:04x}"),
    "JSON of .NET": lambda secret: re.sub(
        r"\\u....", lambda it: it[0][:2] + it[0][2:].upper(), escaped(secret.replace('"', "\0"), "<>&'+`", r"\u{:04x}")
    ).replace("0000", "0022"),
    "HTML of PHP": lambda secret: html.escape(secret).replace("&#x27;", "&#039;"),
    "HTML of Go": lambda secret: html.escape(secret).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("subscription", "authorization", "secret"), TOLD.values(), ids=TOLD)
def test_secrets_sent_to_a_receiver_are_masked_in_its_answer(
    subscription: Subscription, authorization: str | None, secret: str, form: Callable[[str], str]
) -> None:
    shown = masked_excerpt(f"<{form(secret)}>".encode(), secrets_of(subscription, authorization))
    assert shown.strip(b"<=>") == b"***"


@given(st.binary(max_size=20), st.binary(min_size=8, max_size=40), st.binary(max_size=20), st.booleans())
def test_a_request_repeated_in_base64_shows_no_secret(
    before: bytes, secret: bytes, after: bytes, is_url_safe: bool
) -> None:
    """No four successive characters of the secret are left, at whatever position the secret begins in the base64
    text."""
    profile = JwtProfileAuth("http://t/", "i", "s", "a", secret, "HS256")
    secrets = secrets_of(Subscription("s", 0, "http://h/", auth=profile), None)
    encode = base64.urlsafe_b64encode if is_url_safe else base64.b64encode
    begin, end = -(-len(before) * 8 // 6), (len(before) + len(secret)) * 8 // 6
    own = encode(before + secret + after)[begin:end]
    assert own not in masked_excerpt(encode(before + secret + after), secrets)


@pytest.mark.parametrize("charset", ["utf-16", "utf-16le", "utf-32be", "iso-8859-1", "windows-1252"])
def test_a_secret_is_masked_in_a_page_of_another_charset(charset: str) -> None:
    secrets = secrets_of(Subscription("s", 0, "http://h/", auth=BasicAuth("me", "pässword")), None)
    page = as_utf8("<pässword é>".encode(charset), {"Content-Type": f"text/html; charset={charset.upper()}"})
    assert masked_excerpt(page, secrets).decode() == "<*** é>"


def test_a_secret_key_of_raw_bytes_is_masked() -> None:
    profile = JwtProfileAuth("http://t/", "i", "s", "a", b"planted \xff key of bytes", "HS256")
    secrets = secrets_of(Subscription("s", 0, "http://h/", auth=profile), None)
    assert masked_excerpt(b"<planted \xff key of bytes>", secrets) == b"<***>"


@pytest.mark.parametrize("form", [FORMS["plain"], FORMS["JSON of .NET"], FORMS["percent-encoded"]])
def test_a_long_secret_is_found_by_its_beginning(form: Callable[[str], str]) -> None:
    value = 'é+/"x' * 100_000
    secrets = secrets_of(Subscription("s", 0, "http://h/", headers=(Header("X-Key", value),)), None)
    assert max(map(len, secrets)) <= 6 * RESPONSE_EXCERPT_BYTES
    excerpt = whole_characters(f"<{form(value)}".encode()[:RESPONSE_EXCERPT_BYTES])
    assert masked_excerpt(excerpt, secrets) == b"<***"


def test_short_values_are_not_masked() -> None:
    headers = (Header("X-Short", "abc"),)
    assert masked_excerpt(b"abc", secrets_of(Subscription("s", 0, "http://h/", headers=headers), None)) == b"abc"


@pytest.mark.parametrize(
    ("excerpt", "whole"),
    [
        ("aé".encode(), "aé"),
        ("aé".encode()[:-1], "a"),
        ("a€".encode()[:-1], "a"),
        ("a€".encode()[:-2], "a"),
        ("a\U0001f600".encode()[:-1], "a"),
        (b"", ""),
    ],
)
def test_an_incomplete_character_is_left_out(excerpt: bytes, whole: str) -> None:
    assert whole_characters(excerpt) == whole.encode()


@pytest.mark.parametrize("excerpt", [b"a\xff", b"\xe9t\xe9", b"\x1f\x8b\x08\xe2"])
def test_bytes_that_are_not_utf8_are_unchanged(excerpt: bytes) -> None:
    assert whole_characters(excerpt) == excerpt
