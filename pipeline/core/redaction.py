"""What may be shown of values that can carry secrets: URLs, and text that others wrote. Pure."""

import re
from typing import Final
from urllib.parse import urlsplit

MASK: Final = "***"
"""What stands for a credential within a text."""

MASKED_FIELD: Final = "********"
"""What people see instead of the secret that a field holds; writing it back keeps the secret."""

_NAMES: Final = (
    "(?:password|passwd|passphrase|client_?secret|client_?assertion|access_?token|refresh_?token|id_?token|"
    "api_?key|secret_?keys?|private_?key|admin_?token|sasl_auth_bytes)"
)
_QUOTED: Final = r"""(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?)"""
_WORD: Final = r"""[^\s&;,"'{}()\[\]]+"""
_HARMLESS: Final = r"""(?!["']?(?:set|not set|none|null|true|false)\b)"""
# What has to be in a text for the pattern to match anywhere, the pattern, and what replaces it.
_RULES: Final[tuple[tuple[str, re.Pattern[str], str], ...]] = (
    # user:password@ of a URL, up to the last @ of its authority (RFC 3986 section 3.2.1).
    ("://", re.compile(r"(?<=://)[^/\s?#\"'<>]*@"), f"{MASK}@"),
    # Authorization in a header line, a mapping or a list of pairs: scheme and credentials (RFC 9110 section 11.6.2).
    (
        "",
        re.compile(
            r"""(?i)(authorization(?:["']?\s*[:=]|["']\s*,)\s*)(b?["'])?(?:[a-z]+[ \t]+)?[^\s"',;]+""",
        ),
        rf"\1\2{MASK}",
    ),
    # The same credentials without the name of the header in front.
    ("", re.compile(r"(?i)\b(bearer|basic)[ \t]+(?=\S*[\d=])[a-z0-9._~+/=-]{8,}"), rf"\1 {MASK}"),
    # Signing secrets of Standard Webhooks.
    ("whs", re.compile(r"(whsec_|whsk_)[A-Za-z0-9+/=_-]+"), rf"\1{MASK}"),
    # name=value of forms and settings.
    ("=", re.compile(rf"(?i)({_NAMES}\s*=\s*){_HARMLESS}b?(?:{_QUOTED}|{_WORD})"), rf"\1{MASK}"),
    # name:value and "name": "value" of JSON and of Python's representations. An unquoted word after a colon and a
    # space is prose: errors begin with the path of the field they speak of.
    (
        ":",
        re.compile(rf"""(?i)({_NAMES}["']?:\s*){_HARMLESS}b?{_QUOTED}|({_NAMES}(?:["']:\s*|:)){_HARMLESS}{_WORD}"""),
        rf"\1\2{MASK}",
    ),
)

_HINTS: Final = (
    *("@", "authorization", "bearer", "basic", "whs", "eyj"),
    *("passw", "passphrase", "secret", "assertion", "token", "key", "sasl"),
)
"""What any of the above matches has one of these in it, in small letters; so has a token."""

_JWT_START: Final = "eyJ"
"""`{"` in base64url: every JSON Web Token begins with it (RFC 7519)."""
_SHORTEST_JWT_HEADER: Final = 9
_JWT_PART: Final = re.compile(r"[A-Za-z0-9_-]*")
_JWT_REST: Final = re.compile(r"\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?")

_OVERLAP: Final = 1024
"""How many characters beyond the end of a cut text are masked with it, so that no half of a credential is shown."""
_CUT_USERINFO: Final = re.compile(r"://[^/\s?#\"'<>]*\Z")


def mask(text: str) -> str:
    """*text* with whatever looks like a credential replaced by `***`. Takes time in proportion to its length.

    The last line of defence, not the first: values that are known to be secret never get as far as a text.
    """
    if text.isascii() and not has_hint(text):
        return text  # most texts; to try each pattern costs fifty times as much
    for needed, pattern, replacement in _RULES:
        if needed in text:
            text = pattern.sub(replacement, text)
    return _without_tokens(text)


def has_hint(text: str) -> bool:
    """Whether anything in an ASCII *text* could look like a credential; other letters may pass for ASCII ones."""
    lowered = text.lower()
    return any(hint in lowered for hint in _HINTS)


def mask_cut(text: str, most: int) -> str:
    """`mask(text)`, of which at most *most* characters are shown, and few more are looked at; says how long it was."""
    if len(text) <= most:
        return mask(text)
    looked_at, hidden = text[: most + _OVERLAP], 0
    if len(looked_at) < len(text):
        # A user name and password whose end is not in sight, and in the overlap what else the cut may have halved.
        looked_at, hidden = _CUT_USERINFO.sub(f"://{MASK}", looked_at), _OVERLAP
    masked = mask(looked_at)
    return f"{masked[: max(0, min(most, len(masked) - hidden))]}... ({len(text)} characters)"


def _without_tokens(text: str) -> str:
    """Masks JSON Web Tokens wherever they stand.

    By hand: as a pattern, `-eyJ-eyJ...` would be read to its end from each of its beginnings.
    """
    pieces, copied, position = [], 0, 0
    while (start := text.find(_JWT_START, position)) >= 0:
        position = start + len(_JWT_START)
        if start > copied and (text[start - 1].isalnum() or text[start - 1] == "_"):
            continue
        # If no token begins here, none does further on in the same run of characters: it would end at the same place.
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
    """The URL without userinfo, query and fragment, where secrets tend to be."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


_PORTS: Final = {"http": ":80", "https": ":443"}
_WITHOUT_PORT: Final = re.compile(r"[^:()]+|\[[^]]*\]")


def shown_address(url: str) -> str:
    """Host and port of the URL, without userinfo: with the scheme's port if it gives none."""
    host, scheme = shown_host(url), url.partition(":")[0].lower()
    return f"{host}{_PORTS[scheme]}" if scheme in _PORTS and _WITHOUT_PORT.fullmatch(host) else host


def shown_host(url: str) -> str:
    """Host and port of the URL as it gives them, without userinfo."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return "(not a URL)"
