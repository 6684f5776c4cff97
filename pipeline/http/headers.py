"""Which header fields a request may contain, and who may set them. Pure.

Sources: RFC 9110 section 5; docs/design.md, The request.

Values may contain obs-text, the bytes 0x80 to 0xFF: the grammar allows them, and UTF-8 needs them. Bytes that could end
a line or a message early are refused.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from pipeline.core.model import CLOUD_EVENT_PREFIX

LONGEST_NAME: Final = 256
"""A record header with a longer name is not sent: no server would accept it."""

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")

FRAMING: Final = frozenset(
    {
        # These headers say where the request goes, where it ends, and what happens to the connection.
        *("host", "content-length", "transfer-encoding", "trailer", "expect"),
        # Hop by hop (RFC 9110 section 7.6.1).
        *("connection", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings"),
        *("proxy-authenticate", "proxy-authorization", "proxy-authentication-info"),
        # The client does not decompress answers, so it could not mask secrets in them.
        "accept-encoding",
        # CGI passes this header on as HTTP_PROXY, which HTTP clients use as their proxy (CVE-2016-5385).
        "proxy",
    }
)
"""Fields that only the client itself may write."""

CREDENTIALS: Final = frozenset({"authorization", "cookie"})
"""Fields that authenticate the caller. Records can't set them, subscriptions only if their `auth` is none."""

OWN: Final = frozenset(
    {
        *("webhook-id", "webhook-timestamp", "webhook-signature", "webhook-attempt", "webhook-subscription"),
        # The handshake of CloudEvents webhooks (http/handshake.py).
        *("webhook-request-origin", "webhook-request-rate", "webhook-request-callback"),
    }
)
"""Fields that only the pipeline sets, so that receivers can rely on them."""

_RESERVED: Final = FRAMING | OWN
_FOLDED: Final = re.compile(r"[^0-9a-z]")

_NO_ATTRIBUTE: Final = frozenset({"ce-", "ce-datacontenttype"})
"""Record headers that have the prefix of CloudEvents but are not attributes.

`ce_` has no name, and `ce_datacontenttype` is sent as `content-type` (CloudEvents HTTP binding 3.1.1).
"""

# CloudEvents HTTP binding section 3.1.3.2: space, double quote, percent and everything but visible ASCII is encoded.
_CLOUD_EVENT_SAFE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_CLOUD_EVENT_PLAIN: Final = re.compile(rb"[\x21\x23\x24\x26-\x7e]*")


@dataclass(frozen=True, slots=True)
class RecordField:
    """How the record headers of one name are sent.

    Attributes:
        key: the name in lower case, for comparisons.
        start: the line up to the value.
        folded: the name as a server may read it; see `folded`.
        is_cloud_event: whether it is an attribute of CloudEvents' Kafka binding, to be encoded for the HTTP binding.
    """

    key: str
    folded: str
    start: bytes
    is_cloud_event: bool = False


def is_name(name: str) -> bool:
    """Whether *name* is a token, and so a valid field name (RFC 9110 section 5.1)."""
    return _TOKEN.fullmatch(name) is not None


def is_value(value: bytes) -> bool:
    """Whether *value* is a valid field value: no CR, LF, NUL or other control character except the tab."""
    return _VALUE.fullmatch(value) is not None


def folded(name: str) -> str:
    """*name* as a server may read it.

    CGI and its successors (WSGI, Rack, PHP) don't distinguish `-` from `_` in names, and some servers only keep letters
    and digits: `webhook_id` is read as `webhook-id`.
    """
    return _FOLDED.sub("-", name.lower())


def is_reserved(name: str) -> bool:
    """Whether only the client may set a field called *name*: it is reserved, or may be mistaken for a reserved name."""
    return folded(name) in _RESERVED


def record_field(name: str) -> RecordField | None:
    """How a record header called *name* is sent; None if it never is."""
    return _record_field(name) if len(name) <= LONGEST_NAME else None


@lru_cache(maxsize=1024)  # events repeat the same names; a thousand names of the largest size take 256 KiB
def _record_field(name: str) -> RecordField | None:
    is_cloud_event = name.startswith(CLOUD_EVENT_PREFIX)
    sent_as = f"ce-{name.removeprefix(CLOUD_EVENT_PREFIX)}" if is_cloud_event else name
    key = sent_as.lower()
    if not is_name(sent_as) or is_reserved(key) or key in CREDENTIALS or key in _NO_ATTRIBUTE:
        return None
    return RecordField(key, folded(key), f"{sent_as}: ".encode("ascii"), is_cloud_event)


def record_line(field: RecordField, value: bytes | None) -> bytes | None:
    """The line of a record header with its CRLF; None if *value* is null or not a valid field value."""
    if value is None:
        return None
    if field.is_cloud_event and _CLOUD_EVENT_PLAIN.fullmatch(value) is None:
        try:
            value = quote(value.decode(), safe=_CLOUD_EVENT_SAFE).encode("ascii")
        except UnicodeDecodeError:
            return None
    if _VALUE.fullmatch(value) is None:
        return None
    return b"%b%b\r\n" % (field.start, value.strip(b" \t"))
