"""The tricks of misbehaving receivers, each with the outcome that the attempt must have.

`python -m tests.support.hostile` serves each trick; the path is its name. The receiver then runs in another process, so
that the memory of the client can be measured (tests/unit/http/test_hostile.py).
"""

import asyncio
import gzip
import sys
from dataclasses import dataclass
from typing import Final, Literal

from tests.support.receiver import (
    Behaviour,
    Exchange,
    Receiver,
    answer,
    endless,
    hang_up,
    in_pieces,
    raw,
    reset,
    silent,
    stalled,
)

Fate = Literal["delivered", "rejected", "server error", "broken", "timed out"]
"""The outcome that the attempt must have. With "broken" and "timed out", the event may have arrived."""

OK: Final = b"HTTP/1.1 200 OK\r\n"
EMPTY: Final = b"Content-Length: 0\r\n\r\n"
INTERIM: Final = b"".join(b"HTTP/1.1 %d -\r\n\r\n" % code for code in (100, 102, 103))
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Trick:
    """A way to misbehave.

    Attributes:
        name: a name of letters and hyphens.
        about: what the receiver does, for people.
        is_endless: whether it sends as long as the client reads, or far more than a normal answer.
    """

    name: str
    about: str
    behaviour: Behaviour
    fate: Fate
    is_endless: bool = False


def _after(line: bytes) -> Behaviour:
    return raw(line + b"\r\n" + EMPTY)


def _closing(data: bytes) -> Behaviour:
    return raw(data, then_close=True)


async def _reset_in_body(exchange: Exchange) -> None:
    await exchange.send(OK + b"Content-Length: 100\r\n\r\nhalf")
    await reset(exchange)


async def _reset_in_head(exchange: Exchange) -> None:
    await exchange.send(OK + b"Content-")
    await reset(exchange)


async def _reset_in_chunk(exchange: Exchange) -> None:
    await exchange.send(CHUNKED + b"10\r\nhalf")
    await reset(exchange)


async def _drip(exchange: Exchange) -> None:
    await exchange.send(OK + b"Content-Length: 1000000\r\n\r\n")
    while not exchange.writer.is_closing():
        await exchange.send(b"x")
        await asyncio.sleep(0.01)  # being slow is the trick


async def _100_mb(exchange: Exchange) -> None:
    await exchange.send(OK + b"Content-Length: 100000000\r\n\r\n")
    for _ in range(100):
        await exchange.send(bytes(1_000_000))


def _encoded(coding: str) -> Behaviour:
    return raw(OK + f"Content-Encoding: {coding}\r\nContent-Length: 3\r\n\r\nabc".encode())


def _headers(count: int, size: int) -> bytes:
    return b"".join(b"X-%d: %b\r\n" % (number, bytes([120]) * size) for number in range(count))


def _bomb(size: int) -> Behaviour:
    packed = gzip.compress(bytes(size))
    head = f"HTTP/1.1 500 -\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    return raw(head.encode() + packed)


TRICKS: Final = (
    # Odd but unambiguous answers.
    Trick("no-reason", "a status line without a reason phrase", raw(b"HTTP/1.1 200\r\n" + EMPTY), "delivered"),
    Trick("http-1-0", "HTTP/1.0, then closes", _closing(b"HTTP/1.0 200 OK\r\n\r\nbody"), "delivered"),
    Trick(
        "http-1-0-kept",
        "HTTP/1.0 with keep-alive",
        raw(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + EMPTY),
        "delivered",
    ),
    Trick("no-length", "a body that ends with the connection", _closing(OK + b"\r\nbody"), "delivered"),
    Trick("204-with-body", "204 with a body", raw(b"HTTP/1.1 204 -\r\nContent-Length: 5\r\n\r\nhello"), "delivered"),
    Trick("304-with-body", "304 with a body", raw(b"HTTP/1.1 304 -\r\nContent-Length: 5\r\n\r\nhello"), "rejected"),
    Trick("answers-twice", "two answers to one request", raw((OK + EMPTY) * 2), "delivered"),
    Trick("obs-fold", "a folded header", _after(OK + b"X-A: a\r\n  folded"), "delivered"),
    Trick("http-2-line", "version 2.0 in the status line", _after(b"HTTP/2.0 200 OK"), "delivered"),
    Trick("fold-first", "a continuation line before the first header", _after(OK + b" X-A: a"), "delivered"),
    Trick("bare-lf", "lines that end with LF only", raw(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"), "delivered"),
    Trick("8-bit-header", "a header value that is not text", _after(OK + b"X-A: \xff\xfe"), "delivered"),
    Trick("interim", "100, 102 and 103 before the answer", raw(INTERIM + OK + EMPTY), "delivered"),
    Trick(
        "byte-by-byte", "the answer one byte at a time", in_pieces(*(bytes([byte]) for byte in OK + EMPTY)), "delivered"
    ),
    Trick("empty-lines", "empty lines before the answer", raw(b"\r\n\r\n" + OK + EMPTY), "delivered"),
    Trick("trailers", "a chunked body with trailers", raw(CHUNKED + b"2\r\nok\r\n0\r\nX-A: b\r\n\r\n"), "delivered"),
    Trick("chunk-extension", "a chunk extension", raw(CHUNKED + b"2;a=b\r\nok\r\n0\r\n\r\n"), "delivered"),
    Trick("126-headers", "126 headers", raw(OK + _headers(126, 10) + EMPTY), "delivered"),
    Trick(
        "204-with-body-later",
        "204, then a body in a later packet",
        in_pieces(b"HTTP/1.1 204 -\r\nContent-Length: 5\r\n\r\n", b"hello"),
        "delivered",
    ),
    Trick("205-with-body", "205 with a body", raw(b"HTTP/1.1 205 -\r\nContent-Length: 2\r\n\r\nok"), "delivered"),
    Trick(
        "204-chunked",
        "204 with a chunked body",
        raw(b"HTTP/1.1 204 -\r\n" + CHUNKED[len(OK) :] + b"0\r\n\r\n"),
        "delivered",
    ),
    Trick("answers-more", "more body than the length says", raw(OK + b"Content-Length: 2\r\n\r\nokok"), "delivered"),
    Trick("answers-half-more", "an answer and half of another", raw(OK + EMPTY + OK + b"Conte"), "delivered"),
    Trick("not-gzip", "a body declared as gzip that is not gzip", _encoded("gzip"), "delivered"),
    Trick("not-brotli", "a body declared as br that is not br", _encoded("br"), "delivered"),
    Trick("not-zstd", "a body declared as zstd that is not zstd", _encoded("zstd"), "delivered"),
    Trick(
        "304-with-length",
        "304 with a length and no body",
        raw(b"HTTP/1.1 304 -\r\nContent-Length: 5\r\n\r\n"),
        "rejected",
    ),
    Trick(
        "redirect",
        "a redirect to an internal address",
        answer(307, headers=[("Location", "http://169.254.169.254/")]),
        "rejected",
    ),
    Trick("switches", "101 without a request to upgrade", raw(b"HTTP/1.1 101 -\r\nUpgrade: x\r\n\r\n"), "rejected"),
    Trick("status-600", "status 600", _after(b"HTTP/1.1 600 -"), "server error"),
    Trick("status-999", "status 999", _after(b"HTTP/1.1 999 -"), "server error"),
    # Answers that are not HTTP.
    Trick("status-0", "status 0", _after(b"HTTP/1.1 0 -"), "broken"),
    Trick("status-099", "status 099", _after(b"HTTP/1.1 099 -"), "broken"),
    Trick("status-1000", "status 1000", _after(b"HTTP/1.1 1000 -"), "broken"),
    Trick("status-negative", "status -200", _after(b"HTTP/1.1 -200 -"), "broken"),
    Trick("status-letters", "letters as the status", _after(b"HTTP/1.1 abc -"), "broken"),
    Trick("space-before-colon", "a space before the colon", _after(OK + b"X-A : a"), "broken"),
    Trick("bare-cr", "lines that end with CR only", _closing(b"HTTP/1.1 200 OK\rContent-Length: 0\r\r"), "broken"),
    Trick("nul-in-name", "NUL in a header name", _after(OK + b"X\0A: a"), "broken"),
    Trick("129-headers", "129 headers", raw(OK + _headers(128, 10) + EMPTY), "broken"),
    Trick("lengths-in-one", "two lengths in one header", raw(OK + b"Content-Length: 5, 5\r\n\r\nhello"), "broken"),
    Trick("length-signed", "a length with a sign", raw(OK + b"Content-Length: +5\r\n\r\nhello"), "broken"),
    Trick("length-hex", "a hexadecimal length", raw(OK + b"Content-Length: 0x5\r\n\r\nhello"), "broken"),
    Trick("chunk-negative", "a negative chunk size", raw(CHUNKED + b"-1\r\n"), "broken"),
    Trick("chunk-longer", "a chunk longer than its size says", raw(CHUNKED + b"2\r\nokok\r\n0\r\n\r\n"), "broken"),
    Trick("chunk-letters-later", "letters as the chunk size, after the head", in_pieces(CHUNKED, b"zz\r\n"), "broken"),
    Trick(
        "chunk-broken-later",
        "a chunk with a wrong end, in a later packet",
        in_pieces(CHUNKED, b"3\r\nabc", b"def"),
        "broken",
    ),
    Trick("interim-closes", "100, then closes", _closing(b"HTTP/1.1 100 -\r\n\r\n"), "broken"),
    Trick("http-0-9", "a page without a head (HTTP/0.9)", _closing(b"<html>hello</html>"), "broken"),
    Trick("http-2", "HTTP/2 frames", _closing(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)), "broken"),
    Trick("tls-alert", "a TLS alert", _closing(b"\x15\x03\x03\x00\x02\x02\x28"), "broken"),
    Trick("nul-in-header", "NUL in a header value", _after(OK + b"X-A: a\0b"), "broken"),
    Trick("no-colon", "a header without a colon", _after(OK + b"nonsense"), "broken"),
    Trick(
        "two-lengths",
        "two different lengths",
        raw(OK + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello"),
        "broken",
    ),
    Trick(
        "length-and-chunks",
        "a length with a chunked body",
        raw(OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "broken",
    ),
    Trick("length-negative", "a negative length", raw(OK + b"Content-Length: -1\r\n\r\n"), "broken"),
    Trick(
        "length-huge",
        "a length beyond 64 bits",
        raw(OK + b"Content-Length: 99999999999999999999999\r\n\r\nhello"),
        "broken",
    ),
    Trick("chunk-letters", "letters as the chunk size", raw(CHUNKED + b"zz\r\n"), "broken"),
    Trick("chunk-huge", "a chunk size beyond 64 bits", raw(CHUNKED + b"fffffffffffffffffff\r\n"), "broken"),
    Trick("half-head", "closes within the head", _closing(OK + b"Content-Le"), "broken"),
    Trick("half-body", "closes within the body", _closing(OK + b"Content-Length: 100\r\n\r\nhalf"), "broken"),
    Trick("half-chunk", "closes within a chunk", _closing(CHUNKED + b"10\r\nhalf"), "broken"),
    Trick("hangs-up", "closes without an answer", hang_up, "broken"),
    Trick("resets", "resets after the request", reset, "broken"),
    Trick("resets-in-head", "resets within the head", _reset_in_head, "broken"),
    Trick("resets-in-body", "resets within the body", _reset_in_body, "broken"),
    Trick("resets-in-chunk", "resets within a chunk", _reset_in_chunk, "broken"),
    # Answers that do not arrive.
    Trick("silent", "takes the request and never answers", silent, "timed out"),
    Trick("stalls-in-head", "stalls within the head", stalled(OK), "timed out"),
    Trick(
        "stalls-in-body",
        "stalls within the body",
        stalled(OK + b"Content-Length: 100\r\n\r\nhalf"),
        "timed out",
    ),
    Trick("stalls-in-chunk", "stalls within a chunk", stalled(CHUNKED + b"10\r\nhalf"), "timed out"),
    Trick("drips-slowly", "a body slowly, byte by byte", _drip, "timed out"),
    Trick("only-interim", "100, then no answer", stalled(b"HTTP/1.1 100 -\r\n\r\n"), "timed out"),
    # Endless answers.
    Trick(
        "body-without-end",
        "a body of 1 TB",
        endless(OK + b"Content-Length: 1000000000000\r\n\r\n", bytes(65536)),
        "delivered",
        is_endless=True,
    ),
    Trick(
        "chunks-without-end",
        "endless chunks",
        endless(b"HTTP/1.1 503 -\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + bytes(4096) + b"\r\n"),
        "server error",
        is_endless=True,
    ),
    Trick(
        "stream-without-end",
        "an endless body without a length",
        endless(b"HTTP/1.1 404 -\r\n\r\n", bytes(65536)),
        "rejected",
        is_endless=True,
    ),
    Trick(
        "body-of-100-mb",
        "a body of 100 MB",
        _100_mb,
        "delivered",
        is_endless=True,
    ),
    Trick(
        "small-chunks-without-end",
        "endless chunks of two bytes",
        endless(CHUNKED, b"2\r\nok\r\n" * 10_000),
        "delivered",
        is_endless=True,
    ),
    Trick(
        "extensions-without-end",
        "endless chunks of one byte with long extensions",
        endless(CHUNKED, b"1;" + bytes([120]) * 60_000 + b"\r\nx\r\n"),
        "delivered",
        is_endless=True,
    ),
    Trick(
        "extension-without-end",
        "an endless chunk extension",
        endless(CHUNKED + b"1;", bytes([120]) * 65_536),
        "delivered",
        is_endless=True,
    ),
    Trick(
        "chunk-size-without-end",
        "an endless chunk size of zeros",
        endless(CHUNKED, bytes([48]) * 65_536),
        "delivered",
        is_endless=True,
    ),
    Trick(
        "drips",
        "an endless body, byte by byte",
        endless(OK + b"Content-Length: 1000000000000\r\n\r\n", b"x"),
        "delivered",
    ),
    Trick("gzip-bomb", "50 MB compressed to 50 kB of gzip", _bomb(50_000_000), "server error", is_endless=True),
    Trick("headers-without-end", "endless headers", endless(OK, b"A: b\r\n" * 100), "broken", is_endless=True),
    Trick(
        "header-without-end",
        "one endless header",
        endless(OK + b"A: ", bytes([120]) * 10_000),
        "broken",
        is_endless=True,
    ),
    Trick(
        "reason-without-end",
        "an endless status line",
        endless(b"HTTP/1.1 200 ", bytes([120]) * 10_000),
        "broken",
        is_endless=True,
    ),
    Trick(
        "trailers-without-end",
        "endless long trailers",
        endless(CHUNKED + b"0\r\n", b"A: " + bytes([120]) * 5000 + b"\r\n"),
        "delivered",
        is_endless=True,
    ),
    Trick("head-of-1-mb", "a head of 1 MB", raw(OK + _headers(120, 8100) + EMPTY), "broken", is_endless=True),
    Trick(
        "small-trailers-without-end",
        "endless short trailers",
        endless(CHUNKED + b"0\r\n", b"A: b\r\n" * 10_000),
        "broken",
        is_endless=True,
    ),
    Trick(
        "trailer-without-end",
        "one endless trailer",
        endless(CHUNKED + b"0\r\nA: ", bytes([120]) * 65_536),
        "broken",
        is_endless=True,
    ),
    Trick(
        "interim-without-end",
        "endless 100 answers",
        endless(b"", b"HTTP/1.1 100 -\r\n\r\n" * 10_000),
        "rejected",
        is_endless=True,
    ),
    Trick(
        "interim-heads-of-1-mb",
        "sixteen 103 answers with heads of 1 MB",
        raw((b"HTTP/1.1 103 -\r\n" + _headers(120, 8100) + b"\r\n") * 16 + OK + EMPTY),
        "broken",
        is_endless=True,
    ),
    Trick("answers-without-end", "endless answers", endless(b"", (OK + EMPTY) * 10_000), "delivered", is_endless=True),
    Trick(
        "switches-and-goes-on",
        "101, then endless bytes",
        endless(b"HTTP/1.1 101 -\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", bytes(65_536)),
        "rejected",
        is_endless=True,
    ),
    Trick(
        "204-without-end",
        "204 with an endless body",
        endless(b"HTTP/1.1 204 -\r\n\r\n" + bytes(65_536), bytes(65_536)),
        "delivered",
        is_endless=True,
    ),
    Trick("garbage-without-end", "endless garbage", endless(b"", b"\xff" * 10_000), "broken", is_endless=True),
    Trick("lines-without-end", "endless empty lines", endless(b"", b"\r\n" * 1000), "broken", is_endless=True),
)


async def by_path(exchange: Exchange) -> None:
    """Run the trick in the path. Other paths are answered with 200."""
    name = exchange.request.line.split(" ")[1].strip("/")
    behaviour = {trick.name: trick.behaviour for trick in TRICKS}.get(name, answer(200))
    await behaviour(exchange)


async def main() -> None:
    """Serve until standard input ends. The first printed line is the port."""
    async with Receiver(by_path) as receiver:
        sys.stdout.write(f"{receiver.port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
