"""A plain success is read without a parser, and only where aiohttp's parser would read the same."""

import asyncio
from typing import Final

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpResponseParser, RawResponseMessage
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.http.plain_success import plain_success

PLAIN: Final = {
    "nginx": b"HTTP/1.1 200 OK\r\nServer: nginx/1.24.0\r\nDate: Wed, 21 Oct 2015 07:28:00 GMT\r\n"
    b"Content-Type: text/plain\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
    "Node.js": b"HTTP/1.1 202 Accepted\r\nDate: Wed, 21 Oct 2015 07:28:00 GMT\r\nConnection: keep-alive\r\n"
    b"Keep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n",
    "Go": b"HTTP/1.1 201 Created\r\nDate: Wed, 21 Oct 2015 07:28:00 GMT\r\nContent-Length: 0\r\n\r\n",
    "aiohttp": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n"
    b"Date: Wed, 21 Oct 2015 07:28:00 GMT\r\nServer: Python/3.11 aiohttp/3.13.2\r\n\r\nok",
    "uvicorn": b"HTTP/1.1 200 OK\r\ndate: Wed, 21 Oct 2015 07:28:00 GMT\r\nserver: uvicorn\r\ncontent-length: 2\r\n"
    b"content-type: application/json\r\n\r\n{}",
    "no reason": b"HTTP/1.1 200 \r\nContent-Length:1\r\n\r\nx",
    "UTF-8": "HTTP/1.1 200 Schön\r\nX-A: ü\tü\r\nContent-Length: 2\r\n\r\nü".encode(),
}
LENGTH: Final = b"Content-Length: 2\r\n"
NOT_PLAIN: Final = {
    "nothing": b"",
    "a part": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",
    "too much": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n",
    "two answers": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 2,
    "a refusal": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "an interim answer": b"HTTP/1.1 103 -\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "content of 204": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "until the end of the connection": b"HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\nok" % LENGTH,
    "two lengths": b"HTTP/1.1 200 OK\r\n%b%b\r\nok" % (LENGTH, LENGTH),
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "a signed length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "a folded line": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c: d\r\n%b\r\nok" % LENGTH,
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n%b\r\nok" % LENGTH,
    "a bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "a bare CR": b"HTTP/1.1 200 OK\r\nX-A: b\rContent-Length: 9\r\n%b\r\nok" % LENGTH,
    "a NUL": b"HTTP/1.1 200 OK\r\nX-A: \x00\r\n%b\r\nok" % LENGTH,
    "the end of the connection": b"HTTP/1.1 200 OK\r\nConnection: close\r\n%b\r\nok" % LENGTH,
    "an end after all": b"HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\n%b\r\nok" % LENGTH,
    "the end of a connection to a proxy": b"HTTP/1.1 200 OK\r\nProxy-Connection: close\r\n%b\r\nok" % LENGTH,
    "another protocol": b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\n%b\r\nok" % LENGTH,
    "many headers": b"HTTP/1.1 200 OK\r\n%b%b\r\nok" % (b"a:\r\n" * 100, LENGTH),
}

headers = st.sampled_from(
    [
        LENGTH,
        b"content-length:2\r\n",
        b"Content-Length: 02\r\n",
        b"Content-Length: 2 \r\n",
        b"Content-Length:\t2\r\n",
        b"Content-Lengths: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: keep-alive \r\n",
        b"CONNECTION: close\r\n",
        b"Connection: Upgrade\r\n",
        b"Proxy-Connection: close\r\n",
        b"Upgrade: h2c\r\n",
        b"Keep-Alive: timeout=5\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Set-Cookie: a=b\r\n",
        b"X-\xc3\xbc: b\r\n",
        b"X-A:\xff\x80\r\n",
        b"X-A: b\x7f\r\n",
        b"X_A: b\r\n",
        b": b\r\n",
        b" folded: b\r\n",
    ]
)
starts = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200\r\n",
        b"HTTP/1.1 299 \r\n",
        b"HTTP/1.1 204 No Content\r\n",
        b"HTTP/1.1 205 Reset Content\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 200 \xff\t\r\n",
        b"HTTP/1.1  200 OK\r\n",
        b"ICY 200 OK\r\n",
    ]
)
bodies = st.sampled_from([b"ok", b"", b"2\r\n", b"ok\r\n", b"\r\n"])


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """An answer that is plain, or nearly so."""
    whole = draw(starts) + b"".join(draw(st.lists(headers, max_size=5))) + b"\r\n" + draw(bodies)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(whole)))
        whole = whole[:at] + draw(st.binary(max_size=2)) + whole[at + draw(st.integers(0, 2)) :]
    return whole


def parsed(data: bytes) -> tuple[RawResponseMessage, bool] | None:
    """The one answer in *data*, and whether its body has ended; None if there is no such answer."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpResponseParser(
            BaseProtocol(loop), loop, 2**16, read_until_eof=True, auto_decompress=False, max_line_size=8190
        )
        messages, upgraded, tail = parser.feed_data(data)
        if len(messages) != 1 or upgraded or tail:
            return None
        return messages[0][0], messages[0][1].is_eof()
    except HttpProcessingError:
        return None
    finally:
        loop.close()


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_the_plain_successes_of_common_servers_need_no_parser(data: bytes) -> None:
    found = plain_success(data)
    assert found is not None
    assert found.code == int(data[9:12])


@pytest.mark.parametrize("data", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_an_answer_with_anything_unusual_goes_to_the_parser(data: bytes) -> None:
    assert plain_success(data) is None


@given(answers())
@example(PLAIN["nginx"])
def test_a_plain_success_is_the_same_to_the_parser(data: bytes) -> None:
    found = plain_success(data)
    if found is not None:
        there = parsed(data)
        assert there is not None
        message, has_ended = there
        assert (message.code, message.should_close, has_ended) == (found.code, found.should_close, True)


@pytest.mark.parametrize("status", range(200, 300))
def test_every_success_with_a_length_of_its_own_is_plain(status: int) -> None:
    found = plain_success(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\n\r\n" % status)
    assert found is None if status == 204 else found is not None and found.code == status


@pytest.mark.parametrize("evil", [b"a", b"a:", b"a:\r\n", b"content-length: 2\r\n", b"-", b"\r"], ids=repr)
def test_hostile_answers_do_not_take_longer_than_their_length(evil: bytes) -> None:
    # A search that tries all combinations would not end.
    assert plain_success(b"HTTP/1.1 200 OK\r\n" + evil * 200_000) is None
