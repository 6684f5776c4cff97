"""Masks secrets in URLs and in text from outside the pipeline. Pure."""

import re
from typing import Final
from urllib.parse import urlsplit

MASK: Final = "***"
"""Replaces a credential in a text."""

MASKED_FIELD: Final = "********"
"""Replaces the value of a secret field when it is shown. A document with this mask keeps the stored secret."""

_NAMES: Final = (
    "(?:password|passwd|passphrase|client[_-]?secret|client[_-]?assertion|access[_-]?token|refresh[_-]?token|"
    "id[_-]?token|api[_-]?key|secret[_-]?keys?|private[_-]?key|admin[_-]?token|sasl_auth_bytes)"
)
_QUOTED: Final = r"""(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?)"""
_WORD: Final = r"""[^\s&;,"'{}()\[\]]+"""
_HARMLESS: Final = r"""(?!["']?(?:set|not set|none|null|true|false)\b)"""
_PARAMETER: Final = r"""[a-z][a-z0-9_-]*=(?:"[^"]*"?|[^\s"',;=][^\s"',;]*)"""
# A text that every match contains, the pattern, and the replacement.
_RULES: Final[tuple[tuple[str, re.Pattern[str], str], ...]] = (
    # user:password@ in a URL, up to the last @ of its authority (RFC 3986 section 3.2.1).
    ("://", re.compile(r"(?<=://)[^/\s?#\"'<>]*@"), f"{MASK}@"),
    # Authorization in a header line, a mapping or a list of pairs: a scheme with parameters, as of Digest or AWS4, or
    # with a token (RFC 9110 section 11.6.2).
    (
        "",
        re.compile(
            rf"""(?i)(authorization(?:["']?\s*[:=]|["']\s*,)\s*)(b?["'])?"""
            rf"""(?:[a-z][a-z0-9-]*[ \t]+{_PARAMETER}(?:[ \t]*,[ \t]*{_PARAMETER})*"""
            r"""|(?:[a-z][a-z0-9-]*[ \t]+)?[^\s"',;]+)""",
        ),
        rf"\1\2{MASK}",
    ),
    # The same credentials without the name of the header before them.
    ("", re.compile(r"(?i)\b(bearer|basic)[ \t]+(?=\S*[\d=])[a-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    # Signing secrets of Standard Webhooks.
    ("whs", re.compile(r"(whsec_|whsk_)[A-Za-z0-9+/=_-]+"), rf"\1{MASK}"),
    # Parameters of a query whose names mean a credential only in a query.
    ("=", re.compile(r"(?i)([?&](?:sig|signature|token|key|secret|code)=)[^\s&#\"'<>]+"), rf"\1{MASK}"),
    # name=value of forms and settings.
    ("=", re.compile(rf"(?i)({_NAMES}\s*=\s*){_HARMLESS}b?(?:{_QUOTED}|{_WORD})"), rf"\1{MASK}"),
    # name:value and "name": "value" of JSON and of Python's repr. An unquoted word after a colon and a space is prose:
    # errors begin with the path of a field.
    (
        ":",
        re.compile(rf"""(?i)({_NAMES}["']?:\s*){_HARMLESS}b?{_QUOTED}|({_NAMES}(?:["']:\s*|:)){_HARMLESS}{_WORD}"""),
        rf"\1\2{MASK}",
    ),
)

_HINTS: Final = (
    *("@", "authorization", "bearer", "basic", "whs", "eyj"),
    *("passw", "passphrase", "secret", "assertion", "token", "key", "sasl", "sig=", "signature=", "code="),
)
"""Each text that a pattern matches, and each JSON Web Token, contains one of these when it is in lower case."""

_JWT_START: Final = "eyJ"
"""`{"` in base64url: every JSON Web Token begins with it (RFC 7519)."""
_SHORTEST_JWT_HEADER: Final = 9
_JWT_PART: Final = re.compile(r"[A-Za-z0-9_-]*")
_JWT_REST: Final = re.compile(r"\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?")

_OVERLAP: Final = 1024
"""How many characters after the cut are read too, so that a credential that is cut is still recognised."""
_CUT_USERINFO: Final = re.compile(r"://[^/\s?#\"'<>]*\Z")


def mask(text: str) -> str:
    """*text* with everything that looks like a credential replaced by `***`, in linear time.

    Code must not rely on this: no code may put a value into a text if it knows that the value is secret.
    """
    if text.isascii() and not has_hint(text):
        return text  # most texts; trying all patterns costs fifty times as much
    for needed, pattern, replacement in _RULES:
        if needed in text:
            text = pattern.sub(replacement, text)
    return _without_tokens(text)


def has_hint(text: str) -> bool:
    """Whether an ASCII *text* may contain a credential.

    For any other text, use `mask`: some non-ASCII letters equal ASCII letters if case is ignored.
    """
    lowered = text.lower()
    return any(hint in lowered for hint in _HINTS)


def mask_cut(text: str, most: int) -> str:
    """The first *most* characters of `mask(text)`, and the length of *text*. Reads only a few more characters."""
    if len(text) <= most:
        return mask(text)
    looked_at, hidden = text[: most + _OVERLAP], 0
    if len(looked_at) < len(text):
        # Also mask userinfo whose end is beyond the cut. Leave out the characters read beyond it, which may contain a
        # part of another credential.
        looked_at, hidden = _CUT_USERINFO.sub(f"://{MASK}", looked_at), _OVERLAP
    masked = mask(looked_at)
    return f"{masked[: max(0, min(most, len(masked) - hidden))]}... ({len(text)} characters)"


def _without_tokens(text: str) -> str:
    """*text* with all JSON Web Tokens masked.

    A regular expression would read `-eyJ-eyJ...` to its end from each `eyJ`, in quadratic time.
    """
    pieces, copied, position = [], 0, 0
    while (start := text.find(_JWT_START, position)) >= 0:
        position = start + len(_JWT_START)
        if start > copied and (text[start - 1].isalnum() or text[start - 1] == "_"):
            continue
        # If no token begins here, none begins later in the same run of characters: it would end at the same place.
        position = _end(_JWT_PART, text, start)
        rest = _JWT_REST.match(text, position)
        if rest is not None and position - start >= _SHORTEST_JWT_HEADER:
            pieces += [text[copied:start], MASK]
            copied = position = rest.end()
    return "".join([*pieces, text[copied:]]) if pieces else text


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return start if found is None else found.end()


def shown_url(url: str) -> str:
    """The URL without userinfo, query and fragment, which may contain secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


_PORTS: Final = {"http": ":80", "https": ":443"}
_WITHOUT_PORT: Final = re.compile(r"[^:()]+|\[[^]]*\]")


def shown_address(url: str) -> str:
    """Host and port of the URL, without userinfo. If the URL has no port, the default port of its scheme."""
    host, scheme = shown_host(url), url.partition(":")[0].lower()
    return f"{host}{_PORTS[scheme]}" if scheme in _PORTS and _WITHOUT_PORT.fullmatch(host) else host


def shown_host(url: str) -> str:
    """Host and port as written in the URL, without userinfo."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return "(not a URL)"
