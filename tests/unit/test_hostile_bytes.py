"""Reading untrusted data takes time that is at most proportional to its length.

A table lists all readers of untrusted bytes: of records, answers, rows, stores, subscriptions, requests. Each reader
gets texts that make naive patterns and parsers read the same characters repeatedly, and a megabyte of the worst such
text.
"""

import base64
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import pytest

from pipeline.auth import token_endpoint as oauth2
from pipeline.auth import token_store as stored
from pipeline.auth.jwt_expiry import expiry_warning
from pipeline.cluster import announcement, attempts
from pipeline.cluster.joining import _shape
from pipeline.config.definition import Definition
from pipeline.config.kafka_security import Security, connection
from pipeline.config.keystores.certificates import (
    client_from_jks,
    client_from_pem,
    client_from_pkcs12,
    trusted_from_jks,
    trusted_from_pem,
    trusted_from_pkcs12,
)
from pipeline.config.keystores.der import elements
from pipeline.config.keystores.opening import OpenHere
from pipeline.config.keystores.pkcs12 import key_bags
from pipeline.config.schema import read
from pipeline.config.validation_messages import join, nearest
from pipeline.core.clock import SystemClock
from pipeline.core.credentials import names_credential, query_credentials
from pipeline.core.dead_letter import DeadLetterRecord
from pipeline.core.errors import ConfigurationError
from pipeline.core.keys import decode_key
from pipeline.core.model import PlainEvent
from pipeline.core.outcome import Rejected
from pipeline.core.redaction import mask, shown_host, shown_url
from pipeline.core.shown import shown
from pipeline.core.subscription import Handshake, Header, Routing, Subscription
from pipeline.core.webhook_ids import WebhookIds
from pipeline.http import credentials as static
from pipeline.http import headers as fields
from pipeline.http import response as answer
from pipeline.http import response_redaction as echo
from pipeline.http.destination import parse_url, written_target
from pipeline.http.handshake import verdict_of
from pipeline.http.request import Target, request_head
from pipeline.http.signature import Signer
from pipeline.http.ssrf_guard import Guard
from pipeline.kafka.connection import KafkaConnection
from pipeline.kafka.dead_letters import headers_of
from pipeline.kafka.letters import read_facts
from pipeline.kafka.row_format import decode
from pipeline.kafka.topics import Source
from pipeline.observability.logs import ConsoleFormatter, Facts, JsonFormatter, MaskCredentials
from pipeline.subscriptions.envelope import parse_subscription
from pipeline.subscriptions.fields import as_instant, check_url, instant, moment
from pipeline.subscriptions.filters import event_filter
from pipeline.subscriptions.resolve import to_subscription
from pipeline.subscriptions.secrets import SecretBox
from pipeline.web.access import credentials
from pipeline.web.api.reading import parse_json
from pipeline.web.pages.rendering import TEMPLATES
from tests.unit.subscriptions.test_fuzz import FULL

Reader = Callable[[str], object]

DEFINITION: Final = Definition("orders", Source(KafkaConnection(("k:9092",)), "events"), stated_routing=Routing.KEY)
BOX: Final = SecretBox([base64.urlsafe_b64encode(bytes(32)).decode()])
PAGE: Final = TEMPLATES.from_string('<p title="{{ text|e }}">{{ text }}</p>')
IDS: Final = WebhookIds((b"key",))

UNITS: Final = (
    *("-eyJ", "eyJa-eyJ", "eyJabcdef.", "a", "A", "1", "1.", ".", "-", "_", "/", "//", "://", "@", "://a@", ":", "::"),
    *('"', "'", "\\", '\\"', "=", "==", "&", ";", ",", "#", "?", "%", "%41", "%2", "~", "~0", "~2", "!", "(", "{", "["),
    *(
        "[[",
        '{"a":',
        '{"a":[',
        "]",
        "}",
        "<",
        ">",
        " ",
        "\t",
        "\n",
        "\r\n",
        "\0",
        "\x1b[",
        "\u202e",
        "\u0130",
        "ß",
        "é",
    ),
    *(
        "authorization",
        "authorization: ",
        "authorization=",
        "Bearer ",
        "basic a",
        "password",
        "password=",
        'password="',
    ),
    *('"password": "', "password:", "secret_key", "whsec_", "none ", "xn--", "a.b.", "1.1.1.", "0x", "localhost."),
    *(
        "Mon, ",
        "1 Jan ",
        "-0000 ",
        "2026-",
        "9e9",
        "0.",
        "-----BEGIN ",
        "-----BEGIN CERTIFICATE-----\n",
        "MII",
        "0\x80",
    ),
    *("<!--", "&amp;", "data:", "ce_", "dlq.", "header.", "\\u0041", "\\ud800", "a=b;", 'a="b', "*", "true", "null,"),
)
"""The pieces that hostile texts repeat."""


def settings_of(**changes: object) -> Reader:
    """A function that reads a subscription with a given text at one path."""

    def read(text: str) -> object:
        document = json.loads(json.dumps(FULL))
        options = document["configuration"]["entrypointConfiguration"]
        for path, value in changes.items():
            *way, last = path.split("__")
            place: Any = document if way[:1] == ["top"] else options
            for step in way[1:] if way[:1] == ["top"] else way:
                place = place[step]
            place[last] = value(text) if callable(value) else text
        return to_subscription(parse_subscription(document), DEFINITION, 1, OpenHere())

    return read


def record(text: str, **changes: Any) -> PlainEvent:
    """A record in which every part that a producer writes is *text*."""
    raw = text.encode("utf-8", "surrogatepass")
    headers = [
        ("x", raw),
        ("ce_type", raw),
        ("dlq.webhook-id", raw),
        ("dlq.seal", raw),
        ("dlq.reason", raw),
        ("dlq.topic", raw),
    ]
    return PlainEvent(
        **{"topic": "t", "partition": 0, "offset": 1, "key": raw, "value": raw, "headers": headers, **changes}
    )


def request(text: str) -> object:
    """The request for a record, including header names."""
    head = request_head(
        Subscription("s", 1, ""),
        Target("/", "example.com"),
        url_authorization=None,
        user_agent="u",
        clock=SystemClock(),
        left_out=lambda _name: None,
        ids=IDS,
    )
    event = record(text)
    return head.request(PlainEvent("t", 0, 1, b"s", b"", [*event.headers, (text, b"v")]), 1)


def wants(document: dict[str, object], **headers: str) -> Reader:
    """A reader that applies a filter to a record with the text as its body."""
    wanted = event_filter(document, "filter")
    kept = [(name.replace("_", "-"), value.encode()) for name, value in headers.items()]
    return lambda text: wanted(record(text, headers=kept))


def log_line(formatter: logging.Formatter) -> Reader:
    """A reader that logs a record with the text as its key, and an error with the text in message and traceback."""

    def write(text: str) -> object:
        lines = []
        facts = Facts("event.dead-lettered", {"subscription": text, "webhook_id": text, text[:100]: 1})
        for message, arguments in ((facts, ()), ("topic %s: %r", ("t", text))):
            line = logging.LogRecord("pipeline.x", logging.INFO, __file__, 1, message, arguments, None)
            line.exc_text = text
            MaskCredentials().filter(line)
            lines.append(formatter.format(line))
        return lines

    return write


def refused(text: str) -> object:
    """Read a refusal of a token endpoint."""
    body = json.dumps({"error": text, "error_description": text}).encode()
    return oauth2.read_answer("https://example.com", ["secret"], 400, body, 0.0)


def granted(text: str) -> object:
    """Read a successful answer from a token endpoint."""
    bodies = (
        {"access_token": text},
        {"access_token": "a", "token_type": text},
        {"access_token": "a", "expires_in": text},
    )
    return [
        oauth2.read_answer("https://example.com", ["secret"], 200, json.dumps(body).encode(), 0.0) for body in bodies
    ]


def jaas(text: str) -> object:
    """Read a Kafka login in Java's format."""
    line = f"org.apache.kafka.common.security.plain.PlainLoginModule required {text}"
    security = read(
        Security, {"protocol": "SASL_PLAINTEXT", "sasl": {"saslMechanism": "PLAIN", "saslJaasConfig": line}}
    )
    return connection(("k:9092",), security, "security")


def raw(read: Callable[[bytes], object]) -> Reader:
    """A reader of the text as bytes."""
    return lambda text: read(text.encode("utf-8", "surrogatepass"))


READERS: Final[dict[str, Reader]] = {
    # Untrusted text in logs, pages and errors.
    "redaction.mask": mask,
    "redaction.shown_url": lambda text: (shown_url(text), shown_host(text), shown_url(f"https://{text}/")),
    "log, console": log_line(ConsoleFormatter()),
    "log, json": log_line(JsonFormatter()),
    "page": lambda text: PAGE.render(text=text),
    "sentences.shown": lambda text: (shown(text), join("a", text), nearest(text, ["type", "password"])),
    # Records.
    "key": raw(decode_key),
    "request": request,
    "record header": raw(lambda value: fields.record_line(fields.RecordField("x", "x", b"x: "), value)),
    "cloud event header": raw(
        lambda value: fields.record_line(fields.RecordField("ce-x", "ce-x", b"ce-x: ", is_cloud_event=True), value)
    ),
    "filter, body": wants({"exact": {"/a/0/a": "1"}}),
    "filter, structured": wants({"exact": {"type": "1"}}, content_type="application/cloudevents+json"),
    "filter, content type": lambda text: event_filter({"exact": {"datacontenttype": "1"}}, "filter")(
        record("{}", headers=[("content-type", text.encode("utf-8", "surrogatepass")), ("ce_specversion", b"1.0")])
    ),
    "filter, header": lambda text: event_filter({"suffix": {"header.x": "1"}}, "filter")(record(text)),
    "dead letter": lambda text: headers_of(
        DeadLetterRecord(record(text), "rejected", Rejected(400, text.encode("utf-8", "surrogatepass"))), IDS
    ),
    "dead letter, read": lambda text: read_facts(record(text)),
    # Answers of receivers and token endpoints.
    "answer, Retry-After": lambda text: answer.retry_after_seconds(text, 0.0),
    "answer, repeated secrets": raw(lambda body: echo.masked_excerpt(body, (body[:65_536], b"secret"))),
    "answer, secrets of a subscription": lambda text: echo.secrets_of(
        Subscription("s", 1, "https://h/", headers=(Header("X-Key", text),)), None
    ),
    "token endpoint, repeated secrets": lambda text: oauth2.read_answer(
        "https://example.com",
        [text[: min(len(text), 65_536) - 1] + "x"],
        400,
        json.dumps({"error": "no", "error_description": text[:-1]}).encode("utf-8", "surrogatepass"),
        0.0,
    ),
    "answer, cut": raw(echo.whole_characters),
    "handshake": lambda text: verdict_of(
        answer.Answer(200, {"WebHook-Allowed-Origin": text, "WebHook-Allowed-Rate": text}), Handshake("a")
    ),
    "token endpoint, refused": refused,
    "token endpoint, granted": granted,
    "token endpoint, body": raw(lambda body: oauth2.read_answer("https://example.com", ["secret"], 200, body, 0.0)),
    # Rows.
    "cursor row": raw(decode),
    "cursor row, cause": lambda text: decode(
        json.dumps(
            {"next": 1, "status": "failure", "cause": {"kind": text, "message": text, "offset": 1, "at": 1.0}}
        ).encode()
    ),
    "token row": raw(lambda data: stored.decode(bytes(32), data)),
    "encrypted row": raw(lambda data: BOX.decrypt(b"v2:" + data, b"here")),
    "encrypted row of an earlier version": raw(lambda data: BOX.decrypt(data, b"here")),
    # Subscriptions.
    "subscription": lambda text: parse_subscription(json.loads(text)),
    "subscription, id": settings_of(top__id=None),
    "subscription, unknown field": lambda text: parse_subscription({**FULL, text: text}),
    "subscription, callbackUrl": settings_of(callbackUrl=lambda text: f"https://{text}/"),
    "subscription, header": settings_of(headers=lambda text: [{"name": text, "value": text}]),
    "subscription, basic": settings_of(auth__basic__username=None, auth__basic__password=None),
    "subscription, time": settings_of(top__startingAt=None),
    "subscription, origin": settings_of(handshake__origin=None),
    "subscription, status codes": settings_of(retry__statusCodes=lambda text: [text]),
    "subscription, filter": settings_of(filter=lambda text: {"exact": {text: text}}),
    "subscription, pointer": settings_of(filter=lambda text: {"exact": {f"/{text}": text}}),
    "subscription, signing": settings_of(signing__secrets=lambda text: [text]),
    "subscription, trust store": settings_of(ssl__trustStore__content=None),
    "subscription, key": settings_of(ssl__keyStore__certContent=None, ssl__keyStore__keyContent=None),
    "url, its query": lambda text: query_credentials(f"https://example.com/?{text}"),
    "header name": names_credential,
    "url": lambda text: (check_url(f"https://{text}", "auth"), parse_url(f"https://{text}")),
    "url, as it is sent": lambda text: written_target(f"https://example.com/{text}?{text}"),
    "url, parsed": lambda text: parse_url(f"https://{text}/{text}"),
    "guard, host": Guard().verdict_on_host,
    "guard, address": Guard().verdict,
    "time": instant,
    "time, as people write it": lambda text: (moment(text, 0.0), moment(f"{text}d", 1e9), as_instant(text, 1e9)),
    "bearer token": static.bearer_authorization,
    "bearer token, expiry": lambda text: expiry_warning(f"{text}.{text}.{text}", 0.0),
    "signing secret": lambda text: Signer.from_secrets([f"whsec_{text}"]),
    # Stores, certificates and keys.
    "pem, certificates": lambda text: trusted_from_pem(text, "x"),
    "pem, key": lambda text: client_from_pem(text, text, None, "x", "y"),
    "pkcs12": raw(lambda data: trusted_from_pkcs12(data, "secret", "x")),
    "pkcs12, client": raw(lambda data: client_from_pkcs12(b"\x30" + data, "secret", "x")),
    "pkcs12, bags": raw(key_bags),
    "jks": raw(lambda data: trusted_from_jks(bytes.fromhex("feedfeed00000002") + data, "secret", "x")),
    "jks, client": raw(
        lambda data: client_from_jks(
            bytes.fromhex("feedfeed00000002") + data, "secret", "x", key_password=None, alias=None
        )
    ),
    "der": raw(elements),
    # Records of the cluster's topics, and texts of failures.
    "failure, its shape": _shape.__wrapped__,
    "announcement": raw(lambda data: announcement.decode("worker-1", data)),
    "attempt log": raw(attempts.decoded),
    "webhook id": attempts.parse_id,
    # Requests to the pages, and operators' documents.
    "body of a request": raw(parse_json),
    "credentials of a request": lambda text: (credentials(text), credentials(f"Basic {text}")),
    "jaas": jaas,
}


def spent(read: Reader, text: str) -> float:
    """The CPU time of this thread in seconds, which does not depend on the load of the machine."""
    began = time.thread_time()
    with suppress(ConfigurationError, ValueError, TypeError, KeyError, RecursionError):
        read(text)
    return time.thread_time() - began


SHORT: Final = 2_048
LONG: Final = 32_768
MEGABYTE: Final = 1_048_576
GROWTH: Final = LONG // SHORT
SLACK: Final = 6
"""With linear time, the factor is 16; with quadratic time, 256. A limit of 96 separates them in spite of caches and
allocators."""
NOISE_SECONDS: Final = 0.02


def repeated(unit: str, size: int) -> str:
    """A text of *size* characters."""
    return (unit * (size // len(unit) + 1))[:size]


@pytest.mark.parametrize("name", READERS)
def test_hostile_bytes_are_read_in_linear_time(name: str) -> None:
    read = READERS[name]
    for unit in UNITS:
        short, long = repeated(unit, SHORT), repeated(unit, LONG)
        allowed = GROWTH * SLACK * spent(read, short) + NOISE_SECONDS
        # A slow reader is measured twice, because the first time may include work that is done only once.
        assert spent(read, long) <= allowed or spent(read, long) <= allowed, f"{unit!r}"


@pytest.mark.parametrize("name", READERS)
def test_every_reader_copes_with_a_megabyte_of_hostile_text(name: str) -> None:
    for unit in ("-eyJ", "[", '{"a":', "authorization: ", "1.", "xn--"):
        spent(READERS[name], repeated(unit, MEGABYTE))
