"""Masks the secrets of a request in its answer. Pure.

A receiver may repeat the request in its error page, so dead letters and causes could contain credentials: verbatim, or
in base64, percent-encoding, JSON or HTML.
"""

import base64
import binascii
import codecs
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from pipeline.core.credentials import query_credentials
from pipeline.core.outcome import RESPONSE_EXCERPT_BYTES
from pipeline.core.redaction import MASK
from pipeline.core.subscription import BasicAuth, JwtProfileAuth, NoAuth, OAuth2Auth, Subscription, TokenAuth
from pipeline.http.signature import without_prefix

SHORTEST_BYTES: Final = 4
"""Shorter values are not masked: they occur by chance so often that masks would hide half of an answer."""

_MASK: Final = MASK.encode()
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([a-z0-9_-]{1,20})")
_BOMS: Final = (
    *((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32")),
    *((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")),
)
_CHARSETS: Final = frozenset(
    {
        *("utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be"),
        *("big5", "euc-jp", "euc-kr", "gb18030", "gb2312", "gbk", "iso-2022-jp", "shift_jis"),
        *("iso-8859-1", "iso-8859-2", "iso-8859-15", "koi8-r", "windows-1250", "windows-1251", "windows-1252"),
    }
)
"""The charsets besides UTF-8 that are read. Looking up whatever name a receiver sends would fill Python's cache."""
_PERCENT: Final = re.compile("%..")
_KEPT_BY_JAVASCRIPT: Final = "!'()*"
_UNICODE_ESCAPE: Final = re.compile(r"(?<=\\u)[0-9a-f]{4}")
_ESCAPED_BY_GO: Final = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&"})
_ESCAPED_BY_DOTNET: Final = str.maketrans({sign: f"\\u{ord(sign):04X}" for sign in "&'+<>`"})
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def secrets_of(subscription: Subscription, authorization: str | None) -> tuple[bytes, ...]:
    """All forms of the secrets that an answer must not show, longest first.

    These are credentials, signing secrets, the values of the subscription's headers, and credentials in its URL's
    query.

    Args:
        subscription: the subscription whose callback is called.
        authorization: the value of `Authorization` in the request; None without one.
    """
    told = set(_secrets(subscription))
    if authorization is not None:
        told |= set(_of_header(authorization))
    # An excerpt contains only the beginning of a long secret.
    return in_all_forms(whole_characters(secret[:RESPONSE_EXCERPT_BYTES]) for secret in told)


def in_all_forms(secrets: Iterable[bytes]) -> tuple[bytes, ...]:
    """The forms that *secrets* may take in an answer, longest first, without those that are too short."""
    forms = {form for secret in secrets if len(secret) >= SHORTEST_BYTES for form in _forms(secret)}
    return tuple(sorted((form for form in forms if len(form) >= SHORTEST_BYTES), key=len, reverse=True))


def _secrets(subscription: Subscription) -> Iterator[bytes]:
    for header in subscription.headers:
        yield from _of_header(header.value)
    for secret in subscription.signing_secrets:
        yield secret.encode()
        yield from _decoded(without_prefix(secret))
    for value in query_credentials(subscription.url):
        yield from (value.encode(), unquote(value).encode(), unquote_plus(value).encode())
    match subscription.auth:
        case BasicAuth(_, password):
            yield password.encode()
        case TokenAuth(value):
            yield value.encode()
        case OAuth2Auth():
            yield subscription.auth.client_secret.encode()
        case JwtProfileAuth(key=key):
            yield key
        case NoAuth():
            pass


def _of_header(value: str) -> Iterator[bytes]:
    """The value, the value without its scheme, and the parts of Basic credentials (RFC 7617)."""
    scheme, _, credentials = value.partition(" ")
    yield value.encode()
    yield credentials.encode()
    if scheme.lower() == "basic":
        for pair in _decoded(credentials):
            yield from (pair, pair.partition(b":")[2])


def _decoded(text: str) -> Iterator[bytes]:
    """*text*, and the bytes that it encodes if it is base64."""
    yield text.encode()
    try:
        yield base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return


def _forms(secret: bytes) -> Iterator[bytes]:
    """The forms that *secret* may take in an answer."""
    yield secret
    for shift, start in enumerate((0, 2, 3)):
        # The base64 of a secret depends on its position in the encoded text. The characters at its ends that also
        # encode neighbouring bytes are cut off.
        encoded = base64.b64encode(bytes(shift) + secret)[start : (shift + len(secret)) * 8 // 6]
        yield from (encoded, encoded.translate(_URL_SAFE))
    for encoded in (base64.b64encode(secret), base64.urlsafe_b64encode(secret)):
        yield from (encoded, encoded.rstrip(b"="))
    for percent in (quote(secret, safe=""), quote(secret, safe=_KEPT_BY_JAVASCRIPT), quote_plus(secret)):
        yield from (percent.encode(), _PERCENT.sub(lambda found: found[0].lower(), percent).encode())
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return
    for form in (*_json_forms(text), *_html_forms(text)):
        yield form.encode("utf-8", "replace")


def _json_forms(text: str) -> Iterator[str]:
    """*text* inside a JSON string, as the libraries of several languages write it."""
    for written in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield from (written, written.replace("/", "\\/"), written.translate(_ESCAPED_BY_GO))
    # Java, and .NET, which escapes more characters.
    escaped = _UNICODE_ESCAPE.sub(lambda found: found[0].upper(), json.dumps(text)[1:-1])
    yield from (escaped, escaped.replace('\\"', "\\u0022").translate(_ESCAPED_BY_DOTNET))


def _html_forms(text: str) -> Iterator[str]:
    """*text* in HTML; there are several ways to escape quotation marks."""
    escaped = html.escape(text)
    yield escaped
    for apostrophe, quotation_mark in (("&#039;", "&quot;"), ("&#39;", "&quot;"), ("&#39;", "&#34;")):
        yield escaped.replace("&#x27;", apostrophe).replace("&quot;", quotation_mark)


def as_utf8(excerpt: bytes, headers: Mapping[str, str]) -> bytes:
    """The beginning of an answer in UTF-8, so that secrets can be found in it; empty if it is compressed.

    A cut text ends with a whole character. A text in an unknown charset is unchanged.

    Args:
        excerpt: the first `RESPONSE_EXCERPT_BYTES` of the body, or the whole body if it is shorter.
        headers: the headers of the answer, by case-insensitive name.
    """
    if headers.get("Content-Encoding", "").strip().lower() not in {"", "identity"}:
        return b""
    named = _CHARSET.search(headers.get("Content-Type", "").lower())
    charset = next((name for bom, name in _BOMS if excerpt.startswith(bom)), named[1] if named else "")
    if charset in _CHARSETS:
        text = codecs.getincrementaldecoder(charset)("replace").decode(excerpt)
        excerpt = text.encode()
    elif len(excerpt) < RESPONSE_EXCERPT_BYTES:
        return excerpt
    return whole_characters(excerpt[:RESPONSE_EXCERPT_BYTES])


def masked(text: bytes, secrets: Iterable[bytes]) -> bytes:
    """A complete *text* with every secret masked.

    Args:
        text: a text in an answer.
        secrets: the secrets, longest first.
    """
    for secret in secrets:
        text = text.replace(secret, _MASK)
    return text


def masked_excerpt(excerpt: bytes, secrets: Iterable[bytes]) -> bytes:
    """*excerpt* with every secret masked, even one that is cut off at its end.

    Args:
        excerpt: the beginning of an answer.
        secrets: the secrets, longest first.
    """
    secrets = tuple(secrets)
    excerpt = masked(excerpt, secrets)
    cut = max((_cut_off(excerpt, secret) for secret in secrets), default=0)
    return excerpt[:-cut] + _MASK if cut else excerpt


def _cut_off(excerpt: bytes, secret: bytes) -> int:
    """The length of the longest prefix of *secret* with which *excerpt* ends; 0 if the prefix is too short."""
    tail = excerpt[-SHORTEST_BYTES:]
    end = min(len(secret), len(excerpt))
    while len(tail) == SHORTEST_BYTES and (place := secret.rfind(tail, 0, end)) >= 0:
        length = place + SHORTEST_BYTES
        if excerpt.endswith(secret[:length]):
            return length
        end = length - 1
    return 0


def whole_characters(excerpt: bytes) -> bytes:
    """*excerpt* without an incomplete UTF-8 character at its end; unchanged if it is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(excerpt)
    except UnicodeDecodeError:
        return excerpt
    pending, _ = decoder.getstate()
    return excerpt[: len(excerpt) - len(pending)]
