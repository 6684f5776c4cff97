"""What may be shown of values that can carry secrets: URLs, and text that somebody else wrote. Pure."""

import re
from typing import Final
from urllib.parse import urlsplit

MASK: Final = "***"

_NAMES: Final = (
    "(?:password|passwd|passphrase|client_?secret|client_?assertion|access_?token|refresh_?token|id_?token|"
    "api_?key|secret_?keys?|private_?key|admin_?token|sasl_auth_bytes)"
)
_QUOTED: Final = r"""(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?)"""
_WORD: Final = r"""[^\s&;,"'{}()\[\]]+"""
_HARMLESS: Final = r"""(?!["']?(?:set|not set|none|null|true|false)\b)"""
_RULES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    # user:password@ of a URL, up to the last @ of its authority (RFC 3986 section 3.2.1).
    (re.compile(r"(?<=://)[^/\s?#\"'<>]*@"), f"{MASK}@"),
    # Authorization in a header line, a mapping or a list of pairs: scheme and credentials (RFC 9110 section 11.6.2).
    (
        re.compile(
            r"""(?i)(authorization(?:["']?\s*[:=]|["']\s*,)\s*)(b?["'])?(?:[a-z]+[ \t]+)?[^\s"',;]+""",
        ),
        rf"\1\2{MASK}",
    ),
    # The same credentials without the name of the header in front.
    (re.compile(r"(?i)\b(bearer|basic)[ \t]+(?=\S*[\d=])[a-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    # Signing secrets of Standard Webhooks.
    (re.compile(r"(whsec_|whsk_)[A-Za-z0-9+/=_-]+"), rf"\1{MASK}"),
    # A JSON Web Token (RFC 7519), wherever it stands.
    (re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), MASK),
    # name=value of forms and settings.
    (re.compile(rf"(?i)({_NAMES}\s*=\s*){_HARMLESS}b?(?:{_QUOTED}|{_WORD})"), rf"\1{MASK}"),
    # name:value and "name": "value" of JSON and of Python's representations. An unquoted word after a colon and a
    # space is prose: errors begin with the path of the field they speak of.
    (
        re.compile(rf"""(?i)({_NAMES}["']?:\s*){_HARMLESS}b?{_QUOTED}|({_NAMES}(?:["']:\s*|:)){_HARMLESS}{_WORD}"""),
        rf"\1\2{MASK}",
    ),
)


def mask(text: str) -> str:
    """*text* with whatever looks like a credential replaced by `***`.

    The last line of defence, not the first: values that are known to be secret never get as far as a text.
    """
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def shown_url(url: str) -> str:
    """The URL without userinfo, query and fragment, where secrets tend to be."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def shown_host(url: str) -> str:
    """Host and port of the URL as it gives them, without userinfo."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return "(not a URL)"
