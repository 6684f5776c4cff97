"""Recognises the most common answer, a plain success, without a parser. Pure.

Most of the cost of an answer is making a parser, a stream and a map of headers; but only the status of a success
counts. Every other answer goes to aiohttp's parser. tests/unit/http/test_plain_success.py shows that this module
accepts only what that parser reads as the same complete answer.
"""

import re
from typing import Final

from aiohttp import HttpVersion11
from aiohttp.http import RawResponseMessage
from multidict import CIMultiDict, CIMultiDictProxy

MAX_PLAIN_BYTES: Final = 1024
"""The most bytes of a plain answer. A plain answer is so small that it can't exceed aiohttp's limits for a line and for
the number of headers."""

_MAX_HEADERS: Final = 64
_FRAMING: Final = rb"content-length|transfer-encoding|upgrade|(?:proxy-)?connection(?!: keep-alive\r)"
_VALUE: Final = rb"[^\x00-\x08\x0a-\x1f\x7f]*+"
_OTHERS: Final = rb"(?:(?!%b)[a-z0-9-]++:%b\r\n){0,%d}+" % (_FRAMING, _VALUE, _MAX_HEADERS // 2)
_PLAIN: Final = re.compile(
    rb"HTTP/1\.1 (2[0-9][0-9]) %b\r\n(?i:%bcontent-length: ?([0-9]{1,4}+)\r\n%b)\r\n" % (_VALUE, _OTHERS, _OTHERS)
)
"""A status line with a reason, then headers: exactly one Content-Length, and no other header that frames the body or
ends the connection. The quantifiers are possessive, so the search takes linear time."""


def _message(status: int) -> RawResponseMessage:
    return RawResponseMessage(
        version=HttpVersion11,
        code=status,
        reason="",
        headers=CIMultiDictProxy(CIMultiDict[str]()),
        raw_headers=(),
        should_close=False,
        compression=None,
        upgrade=False,
        chunked=False,
    )


_MESSAGES: Final = {b"%d" % status: _message(status) for status in (*range(200, 204), *range(205, 300))}
"""By status. Without 204, which never has a Content-Length (RFC 9110 section 8.6)."""


def plain_success(data: bytes) -> RawResponseMessage | None:
    """A message with the status of a plain success and without headers; None if *data* is not a plain success.

    A plain success is a whole answer in HTTP/1.1 with a 2xx status and exactly as many bytes of body as its one
    Content-Length says, after which the connection may be used again. Headers other than those that frame the body
    (RFC 9112 section 6) or end the connection are not looked at.

    Args:
        data: at most `MAX_PLAIN_BYTES` bytes, the first ones after a request.
    """
    found = _PLAIN.match(data)
    if found is None or int(found[2]) != len(data) - found.end():
        return None
    return _MESSAGES.get(found[1])
