"""Unusual records: the exact bytes that arrive at a server."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest

from pipeline.core.clock import SystemClock
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Delivered
from pipeline.core.subscription import Header, HttpLimits, Subscription
from pipeline.http.webhook import Callback
from tests.support.calling import loopback_transport
from tests.support.receiver import HOST

ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
RANDOM: Final = random.Random(1)


@dataclass
class Tape:
    """A server that stores all received bytes.

    Attributes:
        awaited: the number of bytes after which the server answers.
    """

    port: int = 0
    awaited: int = 0
    taken: bytearray = field(default_factory=bytearray)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            self.taken += data
            if len(self.taken) == self.awaited:
                writer.write(ANSWER)
        writer.close()


@dataclass
class Sender:
    """Sends records to a tape; `left_out` are the names of headers that were not sent."""

    callback: Callback
    tape: Tape
    left_out: list[str]

    async def arrived(self, record: PlainEvent, expected: bytes, *headers: Header) -> None:
        """Send *record*, and check that exactly *expected* arrives."""
        self.tape.taken.clear()
        self.tape.awaited = len(expected)
        url = f"http://{HOST}:{self.tape.port}/hook"
        subscription = Subscription("sub-1", 1, url, headers=headers, http=HttpLimits(5.0, 5.0))
        outcome = await self.callback(subscription, record, 1)
        assert bytes(self.tape.taken) == expected
        assert outcome == Delivered(200)

    def request(self, *lines: bytes, body: bytes = b"", content_type: bytes | None = b"application/json") -> bytes:
        """The request of a record that adds *lines*."""
        start = (
            b"POST /hook HTTP/1.1",
            b"Host: %b:%d" % (HOST.encode(), self.tape.port),
            b"webhook-subscription: sub-1",
            b"User-Agent: test/1",
            *(() if content_type is None else (b"content-type: " + content_type,)),
        )
        end = (b"webhook-id: events-3-41", b"webhook-attempt: 1", b"content-length: %d" % len(body))
        return b"".join(line + b"\r\n" for line in (*start, *lines, *end, b"")) + body


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    async with sending() as it:
        yield it


@asynccontextmanager
async def sending() -> AsyncIterator[Sender]:
    tape, left_out = Tape(), list[str]()
    server = await asyncio.start_server(tape.serve, HOST, 0)
    tape.port = server.sockets[0].getsockname()[1]
    try:
        async with loopback_transport(2) as transport:
            callback = Callback(
                transport,
                SystemClock(),
                user_agent="test/1",
                on_header_left_out=lambda _id, name: left_out.append(name),
            )
            yield Sender(callback, tape, left_out)
    finally:
        server.close()


def record(*headers: tuple[str, bytes | None], value: bytes | None = b"") -> PlainEvent:
    return PlainEvent("events", 3, 41, b"sub-1", value, headers)  # type: ignore[arg-type]  # Kafka knows null values


BODIES: Final = {
    "null": None,
    "empty": b"",
    "every-byte": bytes(range(256)),
    "a-request": b"\r\n\r\nGET /admin HTTP/1.1\r\nHost: x\r\n\r\n",
    "chunks": b"0\r\n\r\n",
    "1-mb": RANDOM.randbytes(1_000_000),
    "10-mb": RANDOM.randbytes(10_000_000),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_body_arrives_unchanged(sender: Sender, body: bytes | None) -> None:
    await sender.arrived(record(value=body), sender.request(body=body or b""))
    await sender.arrived(record(("x-a", b"1"), value=body), sender.request(b"x-a: 1", body=body or b""))


SENT: Final = {
    "utf-8": (("x-a", "grün €".encode()), b"x-a: gr\xc3\xbcn \xe2\x82\xac"),
    "not-utf-8": (("x-a", b"\x80\xfe\xff"), b"x-a: \x80\xfe\xff"),
    "every-token-character": (("!#$%&'*+-.^_`|~0Az", b"1"), b"!#$%&'*+-.^_`|~0Az: 1"),
    "empty-value": (("x-a", b""), b"x-a: "),
    "space-around": (("x-a", b" \ta b\t "), b"x-a: a b"),
    "looks-like-a-header": (("x-a", b"Host: b"), b"x-a: Host: b"),
    "comma-and-quotes": (("x-a", b'"a", b'), b'x-a: "a", b'),
    "a-value-of-100-kb": (("x-a", b"v" * 100_000), b"x-a: " + b"v" * 100_000),
    "name-of-256": (("n" * 256, b"1"), b"n" * 256 + b": 1"),
}


@pytest.mark.parametrize(("header", "line"), SENT.values(), ids=SENT)
async def test_a_header_arrives_with_unchanged_bytes(sender: Sender, header: tuple[str, bytes], line: bytes) -> None:
    await sender.arrived(record(header, value=b"b"), sender.request(line, body=b"b"))
    assert sender.left_out == []


NOT_SENT: Final = {
    "empty-name": ("", b"1"),
    "blank-name": (" ", b"1"),
    "blank-in-name": ("x a", b"1"),
    "colon-in-name": ("x-a: 1\r\nx-b", b"1"),
    "colon-at-the-end": ("x-a:", b"1"),
    "line-end-in-name": ("x-a\r\nContent-Length", b"0"),
    "name-is-a-blank-line": ("\r\n\r\n", b"1"),
    "nul-in-name": ("x\0a", b"1"),
    "unicode-name": ("größe", b"1"),
    "full-width-name": ("Ｈost", b"1"),  # noqa: RUF001 - the subject of the test
    "kelvin-name": ("coo\u212aie", b"1"),
    "surrogate-name": ("\udcff", b"1"),
    "name-of-10-kb": ("n" * 10_240, b"1"),
    "cr-lf-in-value": ("x-a", b"1\r\nx-b: 2"),
    "request-in-value": ("x-a", b"1\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
    "lf-in-value": ("x-a", b"1\nx-b: 2"),
    "cr-in-value": ("x-a", b"1\rx-b: 2"),
    "lf-at-the-end-of-a-value": ("x-a", b"1\n"),
    "nul-in-value": ("x-a", b"1\0"),
    "escape-in-value": ("x-a", b"\x1b[2J"),
    "null-value": ("x-a", None),
    "host": ("HOST", b"elsewhere.example"),
    "length": ("Content-Length", b"0"),
    "transfer-encoding": ("Transfer-Encoding", b"chunked"),
    "connection": ("Connection", b"close, Authorization"),
    "keep-alive": ("Keep-Alive", b"timeout=1"),
    "te": ("TE", b"trailers"),
    "trailer": ("Trailer", b"X"),
    "upgrade": ("Upgrade", b"h2c"),
    "expect": ("Expect", b"100-continue"),
    "proxy-authorization": ("Proxy-Authorization", b"Basic a"),
    "authorization": ("authorization", b"Bearer a"),
    "cookie": ("Cookie", b"a=b"),
    "our-own": ("Webhook-Id", b"forged"),
    "attribute-that-is-no-utf-8": ("ce_a", b"\xff"),
    "attribute-with-a-blank": ("ce_a b", b"1"),
    "attribute-without-a-name": ("ce_", b"1"),
    "attribute-that-is-the-content-type": ("ce_datacontenttype", b"text/plain"),
    "the-same-as-it-is-in-http": ("CE-DataContentType", b"text/plain"),
}


@pytest.mark.parametrize("header", NOT_SENT.values(), ids=NOT_SENT)
async def test_invalid_headers_are_left_out_and_the_others_arrive(
    sender: Sender, header: tuple[str, bytes | None]
) -> None:
    odd = record(("x-before", b"1"), header, ("x-after", b"2"), value=b"b")
    await sender.arrived(odd, sender.request(b"x-before: 1", b"x-after: 2", body=b"b"))
    assert sender.left_out == [header[0][:256]]


async def test_thousands_of_headers_arrive_in_their_order(sender: Sender) -> None:
    many = [(f"x-{number}", b"%d" % number) for number in range(5_000)]
    lines = [b"%b: %b" % (name.encode(), value) for name, value in many]
    await sender.arrived(record(*many, value=b"b"), sender.request(*lines, body=b"b"))
    assert sender.left_out == []


async def test_only_the_first_of_equal_header_names_arrives(sender: Sender) -> None:
    await sender.arrived(record(("x-a", b"1"), ("X-A", b"2"), ("x-a", b"3")), sender.request(b"x-a: 1"))
    assert sender.left_out == ["X-A", "x-a"]


async def test_a_record_s_header_replaces_the_subscription_s_header(sender: Sender) -> None:
    expected = sender.request(b"x-TEAM: b")
    await sender.arrived(record(("x-TEAM", b"b")), expected, Header("X-Team", "a"))


# CloudEvents: the examples of the Kafka binding (3.2.5, 3.3.4), sent as the HTTP binding says (3.1, 3.2, 3.3)


async def test_a_cloudevent_in_kafka_headers_is_sent_in_http_headers(sender: Sender) -> None:
    event = record(
        ("ce_specversion", b"1.0"),
        ("ce_type", b"com.example.someevent"),
        ("ce_source", b"/mycontext/subcontext"),
        ("ce_id", b"1234-1234-1234"),
        ("ce_time", b"2018-04-05T03:56:24Z"),
        ("ce_subject", 'Euro € 😀 "50%" ~!'.encode()),
        ("ce_comexampleextension1", b"a\tb"),
        ("content-type", b"application/avro"),
        value=b"\0\1\2",
    )
    expected = sender.request(
        b"ce-specversion: 1.0",
        b"ce-type: com.example.someevent",
        b"ce-source: /mycontext/subcontext",
        b"ce-id: 1234-1234-1234",
        b"ce-time: 2018-04-05T03:56:24Z",
        b"ce-subject: Euro%20%E2%82%AC%20%F0%9F%98%80%20%2250%25%22%20~!",
        b"ce-comexampleextension1: a%09b",
        b"content-type: application/avro",
        body=b"\0\1\2",
        content_type=None,
    )
    await sender.arrived(event, expected)
    assert sender.left_out == []


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (b"50%25", b"50%2525"),  # decoding once returns the text in the record
        (b"", b""),
        (b" a ", b"%20a%20"),
        (b"%", b"%25"),
        (b"a\r\nHost: b", b"a%0D%0AHost:%20b"),
        (b"\x7f", b"%7F"),
        ("\u0080\u009f".encode(), b"%C2%80%C2%9F"),
        (b"!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", b"!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ],
)
async def test_attributes_are_percent_encoded_as_cloudevents_requires(
    sender: Sender, value: bytes, sent: bytes
) -> None:
    await sender.arrived(record(("ce_a", value)), sender.request(b"ce-a: " + sent))


STRUCTURED: Final = b'{ "specversion": "1.0", "type": "a", "source": "/b", "id": "1", "datacontenttype": "text/xml" }'


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"application/cloudevents+json; charset=UTF-8", STRUCTURED),
        (b"application/cloudevents+avro", bytes(range(256))),
        (b"Application/CloudEvents+JSON", STRUCTURED),
        (b"application/cloudevents-batch+json; charset=UTF-8", b"[" + STRUCTURED + b"]"),
        (b"application/cloudevents-batch+json", b"[]"),
    ],
)
async def test_structured_and_batched_events_are_sent_unchanged(
    sender: Sender, content_type: bytes, body: bytes
) -> None:
    event = record(("content-type", content_type), value=body)
    await sender.arrived(event, sender.request(b"content-type: " + content_type, body=body, content_type=None))


async def test_attributes_in_headers_are_sent_with_a_structured_event(sender: Sender) -> None:
    event = record(("content-type", b"application/cloudevents+json"), ("ce_id", b"1"), value=STRUCTURED)
    expected = sender.request(
        b"content-type: application/cloudevents+json", b"ce-id: 1", body=STRUCTURED, content_type=None
    )
    await sender.arrived(event, expected)
