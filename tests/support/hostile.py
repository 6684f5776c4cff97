"""What receivers may do to a client, each with what has to come of it.

`python -m tests.support.hostile` serves all of them, each under its name as the path: what they send then costs memory
there, and what the client keeps of it can be measured (tests/unit/http/test_hostile.py).
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
"""What the attempt has to come to; broken and timed out may have arrived."""

OK: Final = b"HTTP/1.1 200 OK\r\n"
EMPTY: Final = b"Content-Length: 0\r\n\r\n"
INTERIM: Final = b"".join(b"HTTP/1.1 %d -\r\n\r\n" % code for code in (100, 102, 103))
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Trick:
    """One way to misbehave.

    Attributes:
        name: of letters and hyphens.
        about: what it does, for people.
        is_endless: it sends for as long as it is listened to, or far more than an answer is worth.
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
        await asyncio.sleep(0.01)  # what it does is to take its time


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
    # Answers that are odd, and clear all the same.
    Trick("no-reason", "a status line without a reason", raw(b"HTTP/1.1 200\r\n" + EMPTY), "delivered"),
    Trick("http-1-0", "HTTP/1.0, closes", _closing(b"HTTP/1.0 200 OK\r\n\r\nbody"), "delivered"),
    Trick(
        "http-1-0-kept",
        "HTTP/1.0, keeps alive",
        raw(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + EMPTY),
        "delivered",
    ),
    Trick("no-length", "a body that ends with the connection", _closing(OK + b"\r\nbody"), "delivered"),
    Trick("204-with-body", "204 with a body", raw(b"HTTP/1.1 204 -\r\nContent-Length: 5\r\n\r\nhello"), "delivered"),
    Trick("304-with-body", "304 with a body", raw(b"HTTP/1.1 304 -\r\nContent-Length: 5\r\n\r\nhello"), "rejected"),
    Trick("answers-twice", "two answers to one request", raw((OK + EMPTY) * 2), "delivered"),
    Trick("obs-fold", "a folded header", _after(OK + b"X-A: a\r\n  folded"), "delivered"),
    Trick("http-2-line", "the version 2.0 in a status line", _after(b"HTTP/2.0 200 OK"), "delivered"),
    Trick("fold-first", "a header that goes on before it has begun", _after(OK + b" X-A: a"), "delivered"),
    Trick("bare-lf", "lines that end with LF alone", raw(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"), "delivered"),
    Trick("8-bit-header", "a header of bytes that are no text", _after(OK + b"X-A: \xff\xfe"), "delivered"),
    Trick("interim", "100, 102 and 103 before the answer", raw(INTERIM + OK + EMPTY), "delivered"),
    Trick("byte-by-byte", "one byte at a time", in_pieces(*(bytes([byte]) for byte in OK + EMPTY)), "delivered"),
    Trick("empty-lines", "empty lines before the answer", raw(b"\r\n\r\n" + OK + EMPTY), "delivered"),
    Trick("trailers", "chunks and trailers", raw(CHUNKED + b"2\r\nok\r\n0\r\nX-A: b\r\n\r\n"), "delivered"),
    Trick("chunk-extension", "a chunk extension", raw(CHUNKED + b"2;a=b\r\nok\r\n0\r\n\r\n"), "delivered"),
    Trick("126-headers", "126 headers", raw(OK + _headers(126, 10) + EMPTY), "delivered"),
    Trick(
        "204-with-body-later",
        "204, and a body later than it",
        in_pieces(b"HTTP/1.1 204 -\r\nContent-Length: 5\r\n\r\n", b"hello"),
        "delivered",
    ),
    Trick("205-with-body", "205 with a body", raw(b"HTTP/1.1 205 -\r\nContent-Length: 2\r\n\r\nok"), "delivered"),
    Trick("204-chunked", "204 in chunks", raw(b"HTTP/1.1 204 -\r\n" + CHUNKED[len(OK) :] + b"0\r\n\r\n"), "delivered"),
    Trick("answers-more", "more body than its length says", raw(OK + b"Content-Length: 2\r\n\r\nokok"), "delivered"),
    Trick("answers-half-more", "an answer, and half of another", raw(OK + EMPTY + OK + b"Conte"), "delivered"),
    Trick("not-gzip", "says gzip, and is not", _encoded("gzip"), "delivered"),
    Trick("not-brotli", "says br, and is not", _encoded("br"), "delivered"),
    Trick("not-zstd", "says zstd, and is not", _encoded("zstd"), "delivered"),
    Trick(
        "304-with-length",
        "304 with a length and no body",
        raw(b"HTTP/1.1 304 -\r\nContent-Length: 5\r\n\r\n"),
        "rejected",
    ),
    Trick(
        "redirect",
        "a redirect to somewhere inside",
        answer(307, headers=[("Location", "http://169.254.169.254/")]),
        "rejected",
    ),
    Trick("switches", "101 to a request that did not ask", raw(b"HTTP/1.1 101 -\r\nUpgrade: x\r\n\r\n"), "rejected"),
    Trick("status-600", "the status 600", _after(b"HTTP/1.1 600 -"), "server error"),
    Trick("status-999", "the status 999", _after(b"HTTP/1.1 999 -"), "server error"),
    # Answers that are none.
    Trick("status-0", "the status 0", _after(b"HTTP/1.1 0 -"), "broken"),
    Trick("status-099", "the status 099", _after(b"HTTP/1.1 099 -"), "broken"),
    Trick("status-1000", "the status 1000", _after(b"HTTP/1.1 1000 -"), "broken"),
    Trick("status-negative", "the status -200", _after(b"HTTP/1.1 -200 -"), "broken"),
    Trick("status-letters", "a status of letters", _after(b"HTTP/1.1 abc -"), "broken"),
    Trick("space-before-colon", "a space before the colon", _after(OK + b"X-A : a"), "broken"),
    Trick("bare-cr", "lines that end with CR alone", _closing(b"HTTP/1.1 200 OK\rContent-Length: 0\r\r"), "broken"),
    Trick("nul-in-name", "NUL in the name of a header", _after(OK + b"X\0A: a"), "broken"),
    Trick("129-headers", "129 headers", raw(OK + _headers(128, 10) + EMPTY), "broken"),
    Trick("lengths-in-one", "two lengths in one header", raw(OK + b"Content-Length: 5, 5\r\n\r\nhello"), "broken"),
    Trick("length-signed", "a length with a sign", raw(OK + b"Content-Length: +5\r\n\r\nhello"), "broken"),
    Trick("length-hex", "a length in hex", raw(OK + b"Content-Length: 0x5\r\n\r\nhello"), "broken"),
    Trick("chunk-negative", "a negative chunk size", raw(CHUNKED + b"-1\r\n"), "broken"),
    Trick("chunk-longer", "more of a chunk than its size says", raw(CHUNKED + b"2\r\nokok\r\n0\r\n\r\n"), "broken"),
    Trick(
        "chunk-letters-later", "a chunk size of letters, later than the head", in_pieces(CHUNKED, b"zz\r\n"), "broken"
    ),
    Trick(
        "chunk-broken-later",
        "a chunk that ends wrong, later than its beginning",
        in_pieces(CHUNKED, b"3\r\nabc", b"def"),
        "broken",
    ),
    Trick("interim-closes", "100, and closes", _closing(b"HTTP/1.1 100 -\r\n\r\n"), "broken"),
    Trick("http-0-9", "a page without a head", _closing(b"<html>hello</html>"), "broken"),
    Trick("http-2", "frames of HTTP/2", _closing(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)), "broken"),
    Trick("tls-alert", "a TLS alert", _closing(b"\x15\x03\x03\x00\x02\x02\x28"), "broken"),
    Trick("nul-in-header", "NUL in a header", _after(OK + b"X-A: a\0b"), "broken"),
    Trick("no-colon", "a header without a colon", _after(OK + b"nonsense"), "broken"),
    Trick(
        "two-lengths",
        "two lengths that differ",
        raw(OK + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello"),
        "broken",
    ),
    Trick(
        "length-and-chunks",
        "a length and chunks",
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
    Trick("chunk-letters", "a chunk size of letters", raw(CHUNKED + b"zz\r\n"), "broken"),
    Trick("chunk-huge", "a chunk size beyond 64 bits", raw(CHUNKED + b"fffffffffffffffffff\r\n"), "broken"),
    Trick("half-head", "closes in the middle of the head", _closing(OK + b"Content-Le"), "broken"),
    Trick("half-body", "closes in the middle of the body", _closing(OK + b"Content-Length: 100\r\n\r\nhalf"), "broken"),
    Trick("half-chunk", "closes in the middle of a chunk", _closing(CHUNKED + b"10\r\nhalf"), "broken"),
    Trick("hangs-up", "closes without a word", hang_up, "broken"),
    Trick("resets", "resets after the request", reset, "broken"),
    Trick("resets-in-head", "resets in the middle of the head", _reset_in_head, "broken"),
    Trick("resets-in-body", "resets in the middle of the body", _reset_in_body, "broken"),
    Trick("resets-in-chunk", "resets in the middle of a chunk", _reset_in_chunk, "broken"),
    # Answers that don't come.
    Trick("silent", "takes the request and never answers", silent, "timed out"),
    Trick("stalls-in-head", "stops in the middle of the head", stalled(OK), "timed out"),
    Trick(
        "stalls-in-body",
        "stops in the middle of the body",
        stalled(OK + b"Content-Length: 100\r\n\r\nhalf"),
        "timed out",
    ),
    Trick("stalls-in-chunk", "stops in the middle of a chunk", stalled(CHUNKED + b"10\r\nhalf"), "timed out"),
    Trick("drips-slowly", "a body byte by byte, slowly", _drip, "timed out"),
    Trick("only-interim", "100, and no answer", stalled(b"HTTP/1.1 100 -\r\n\r\n"), "timed out"),
    # Answers without end.
    Trick(
        "body-without-end",
        "a body of a terabyte",
        endless(OK + b"Content-Length: 1000000000000\r\n\r\n", bytes(65536)),
        "delivered",
        is_endless=True,
    ),
    Trick(
        "chunks-without-end",
        "chunks without end",
        endless(b"HTTP/1.1 503 -\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + bytes(4096) + b"\r\n"),
        "server error",
        is_endless=True,
    ),
    Trick(
        "stream-without-end",
        "a body without length and end",
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
        "chunks of two bytes without end",
        endless(CHUNKED, b"2\r\nok\r\n" * 10_000),
        "delivered",
        is_endless=True,
    ),
    Trick(
        "extensions-without-end",
        "chunks of one byte with long extensions",
        endless(CHUNKED, b"1;" + bytes([120]) * 60_000 + b"\r\nx\r\n"),
        "delivered",
        is_endless=True,
    ),
    Trick(
        "extension-without-end",
        "a chunk extension without end",
        endless(CHUNKED + b"1;", bytes([120]) * 65_536),
        "delivered",
        is_endless=True,
    ),
    Trick(
        "chunk-size-without-end",
        "a chunk size of zeros without end",
        endless(CHUNKED, bytes([48]) * 65_536),
        "delivered",
        is_endless=True,
    ),
    Trick(
        "drips",
        "a body byte by byte, without end",
        endless(OK + b"Content-Length: 1000000000000\r\n\r\n", b"x"),
        "delivered",
    ),
    Trick("gzip-bomb", "50 MB in 50 kB of gzip", _bomb(50_000_000), "server error", is_endless=True),
    Trick("headers-without-end", "headers without end", endless(OK, b"A: b\r\n" * 100), "broken", is_endless=True),
    Trick(
        "header-without-end",
        "one header without end",
        endless(OK + b"A: ", bytes([120]) * 10_000),
        "broken",
        is_endless=True,
    ),
    Trick(
        "reason-without-end",
        "a status line without end",
        endless(b"HTTP/1.1 200 ", bytes([120]) * 10_000),
        "broken",
        is_endless=True,
    ),
    Trick(
        "trailers-without-end",
        "long trailers without end",
        endless(CHUNKED + b"0\r\n", b"A: " + bytes([120]) * 5000 + b"\r\n"),
        "delivered",
        is_endless=True,
    ),
    Trick("head-of-1-mb", "a head of 1 MB", raw(OK + _headers(120, 8100) + EMPTY), "broken", is_endless=True),
    Trick(
        "small-trailers-without-end",
        "short trailers without end",
        endless(CHUNKED + b"0\r\n", b"A: b\r\n" * 10_000),
        "broken",
        is_endless=True,
    ),
    Trick(
        "trailer-without-end",
        "one trailer without end",
        endless(CHUNKED + b"0\r\nA: ", bytes([120]) * 65_536),
        "broken",
        is_endless=True,
    ),
    Trick(
        "interim-without-end",
        "100 without end",
        endless(b"", b"HTTP/1.1 100 -\r\n\r\n" * 10_000),
        "rejected",
        is_endless=True,
    ),
    Trick(
        "interim-heads-of-1-mb",
        "sixteen answers of 103 with heads of 1 MB",
        raw((b"HTTP/1.1 103 -\r\n" + _headers(120, 8100) + b"\r\n") * 16 + OK + EMPTY),
        "broken",
        is_endless=True,
    ),
    Trick(
        "answers-without-end", "answers without end", endless(b"", (OK + EMPTY) * 10_000), "delivered", is_endless=True
    ),
    Trick(
        "switches-and-goes-on",
        "101, and something else without end",
        endless(b"HTTP/1.1 101 -\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", bytes(65_536)),
        "rejected",
        is_endless=True,
    ),
    Trick(
        "204-without-end",
        "204 with a body without end",
        endless(b"HTTP/1.1 204 -\r\n\r\n" + bytes(65_536), bytes(65_536)),
        "delivered",
        is_endless=True,
    ),
    Trick("garbage-without-end", "garbage without end", endless(b"", b"\xff" * 10_000), "broken", is_endless=True),
    Trick("lines-without-end", "empty lines without end", endless(b"", b"\r\n" * 1000), "broken", is_endless=True),
)


async def by_path(exchange: Exchange) -> None:
    """The trick that the path names; anything else is answered 200."""
    name = exchange.request.line.split(" ")[1].strip("/")
    behaviour = {trick.name: trick.behaviour for trick in TRICKS}.get(name, answer(200))
    await behaviour(exchange)


async def main() -> None:
    """Serve until standard input ends; the first line that is printed is the port."""
    async with Receiver(by_path) as receiver:
        sys.stdout.write(f"{receiver.port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
