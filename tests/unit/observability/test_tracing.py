"""Spans of delivery attempts (observability/tracing.py)."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pipeline.core.errors import LeaseEndedError
from pipeline.core.model import Event, PlainEvent
from pipeline.core.outcome import Delivered, Failed, NotPermitted, Outcome, Rejected, ServerError, TokenRefused
from pipeline.core.subscription import Subscription
from pipeline.core.webhook_ids import WebhookIds
from pipeline.observability.tracing import Spans, TracedSend, spans_of
from tests.support.core import subscription

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SUBSCRIPTION = replace(subscription("sub-1"), url="https://me:planted-1@hooks.example:8443/in?token=planted-2")
EVENT = PlainEvent("events", 3, 41, b"sub-1", b"{}", [("a", b"b")], 1_000)


class Sender:
    """Answers each attempt with the next outcome, and stores the headers to send."""

    def __init__(self, *outcomes: Outcome | BaseException) -> None:
        self.outcomes = list(outcomes)
        self.headers: list[list[tuple[str, bytes]]] = []

    async def __call__(
        self, subscription: Subscription, event: Event, attempt: int, *, renew_token: bool = False
    ) -> Outcome:
        assert (subscription, attempt, renew_token) is not None
        self.headers.append(list(event.headers))
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def finished(exporter: InMemorySpanExporter) -> list[Any]:
    return [*exporter.get_finished_spans()]


@asynccontextmanager
async def started(exporter: Any, **environment: str) -> AsyncIterator[Spans]:
    spans = Spans(environment, "orders", WebhookIds(), lambda: exporter)
    await spans.start()
    try:
        yield spans
    finally:
        await spans.close()


async def test_the_span_of_an_attempt_continues_the_record_s_trace() -> None:
    exporter, sender = InMemorySpanExporter(), Sender(Delivered(204))
    headers = [*EVENT.headers, ("Traceparent", f"00-{TRACE}-{PARENT}-01".encode()), ("tracestate", b"a=1")]
    async with started(exporter) as spans:
        outcome = await TracedSend(sender, spans)(SUBSCRIPTION, replace(EVENT, headers=headers), 1)
    assert outcome == Delivered(204)
    [span] = finished(exporter)
    assert (span.name, span.kind.name, span.status.status_code.name) == ("POST", "CLIENT", "UNSET")
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert span.resource.attributes["service.name"] == "orders"
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "http.response.status_code": 204,
        "url.full": "https://hooks.example:8443/in",
        "server.address": "hooks.example",
        "server.port": 8443,
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": "events",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 41,
        "messaging.message.id": "events-3-41",
        "webhooks.subscription.id": "sub-1",
    }
    assert sender.headers == [
        [
            ("a", b"b"),
            ("traceparent", f"00-{TRACE}-{span.context.span_id:016x}-01".encode()),
            ("tracestate", b"a=1"),
        ]
    ]


@pytest.mark.parametrize("traceparent", [(), (None,), (b"00-planted-1-01",), (b"\xff",)])
async def test_without_a_valid_parent_a_new_trace_begins(traceparent: tuple[bytes | None, ...]) -> None:
    exporter, sender = InMemorySpanExporter(), Sender(Delivered(200))
    headers: Any = [("traceparent", value) for value in traceparent]  # Kafka knows null values
    async with started(exporter) as spans:
        await TracedSend(sender, spans)(SUBSCRIPTION, replace(EVENT, headers=headers), 1)
    [span] = finished(exporter)
    assert span.parent is None
    assert [name for name, _ in sender.headers[0]] == ["traceparent"]


@pytest.mark.parametrize(
    ("outcome", "kind", "status"),
    [
        (Rejected(410, b"planted-3"), "410", 410),
        (ServerError(503), "503", 503),
        (Failed("no answer within 5 s", may_have_arrived=True, timed_out=True), "timeout", None),
        (Failed("connection refused by 127.0.0.1:9", may_have_arrived=False), "exchange", None),
        (TokenRefused("invalid_client"), "token", None),
        (NotPermitted("no"), "handshake", None),
    ],
)
async def test_the_span_of_a_failed_attempt_has_the_reason(outcome: Outcome, kind: str, status: int | None) -> None:
    exporter = InMemorySpanExporter()
    async with started(exporter) as spans:
        await TracedSend(Sender(outcome), spans)(SUBSCRIPTION, EVENT, 3)
    [span] = finished(exporter)
    assert span.status.status_code.name == "ERROR"
    told = span.attributes
    assert (told["error.type"], told.get("http.response.status_code")) == (kind, status)
    assert told["http.request.resend_count"] == 2
    assert "planted" not in span.to_json()


async def test_the_span_of_a_request_that_was_not_sent_has_the_reason() -> None:
    exporter = InMemorySpanExporter()
    async with started(exporter) as spans:
        with pytest.raises(LeaseEndedError):
            await TracedSend(Sender(LeaseEndedError("x")), spans)(SUBSCRIPTION, EVENT, 1)
    [span] = finished(exporter)
    assert span.attributes["error.type"] == "cut-short"


class StuckExporter:
    """A collector that does not answer until a test allows it."""

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.seen: list[str] = []

    def export(self, spans: Any) -> Any:
        self.may_go.wait(60)
        self.seen += [span.name for span in spans]
        return SpanExportResult.FAILURE if len(self.seen) < 2 else SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return timeout_millis == 0


async def test_a_collector_that_hangs_delays_no_delivery() -> None:
    exporter = StuckExporter()
    async with started(exporter, OTEL_BSP_MAX_QUEUE_SIZE="512") as spans:
        send = TracedSend(Sender(*[Delivered(200)] * 2000), spans)
        for _ in range(2000):
            await send(SUBSCRIPTION, EVENT, 1)
        assert 2000 - 2 * 512 <= spans.dropped <= 2000 - 512
        without_room = spans.dropped
        exporter.may_go.set()
    assert spans.dropped == without_room
    assert len(exporter.seen) == 2000 - without_room


async def test_refused_spans_are_counted() -> None:
    exporter = StuckExporter()
    exporter.may_go.set()
    async with started(exporter) as spans:
        await TracedSend(Sender(Delivered(200)), spans)(SUBSCRIPTION, EVENT, 1)
    assert spans.dropped == 1


async def test_an_unsampled_attempt_still_has_a_traceparent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    exporter, sender = InMemorySpanExporter(), Sender(Delivered(200))
    async with started(exporter) as spans:
        await TracedSend(sender, spans)(SUBSCRIPTION, EVENT, 1)
    assert finished(exporter) == []
    assert [int(value[-2:], 16) & 1 for name, value in sender.headers[0] if name == "traceparent"] == [0]


async def test_a_bug_in_tracing_stops_no_delivery(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("planted")

    async with started(InMemorySpanExporter()) as spans:
        for name in ("begin", "end"):
            with monkeypatch.context() as patched:
                patched.setattr(spans, name, broken)
                send = TracedSend(Sender(Delivered(200), Delivered(200)), spans)
                assert [await send(SUBSCRIPTION, EVENT, 1) for _ in range(2)] == [Delivered(200)] * 2
    assert len([each for each in caplog.messages if "traces: a span could not be" in each]) == 2


async def test_spans_are_made_only_between_start_and_close() -> None:
    exporter, sender = InMemorySpanExporter(), Sender(*[Delivered(200)] * 2)
    spans = Spans({}, "orders", WebhookIds(), lambda: exporter)
    send = TracedSend(sender, spans)
    await send(SUBSCRIPTION, EVENT, 1)
    await spans.start()
    await spans.close()
    await send(SUBSCRIPTION, EVENT, 1)
    assert finished(exporter) == []
    assert sender.headers == [[("a", b"b")]] * 2


async def test_spans_arrive_at_a_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses the exporter that the environment configures, with real HTTP."""
    taken: asyncio.Queue[tuple[str, str | None, ExportTraceServiceRequest]] = asyncio.Queue()

    async def collect(request: web.Request) -> web.Response:
        body = ExportTraceServiceRequest.FromString(await request.read())
        taken.put_nowait((request.path, request.headers.get("api-key"), body))
        return web.Response(content_type="application/x-protobuf")

    collector = web.Application()
    collector.router.add_post("/v1/traces", collect)
    async with TestServer(collector) as server:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": str(server.make_url("/")).rstrip("/"),
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=planted-4",
            "OTEL_SERVICE_NAME": "mine",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        spans = spans_of(environment, "orders", WebhookIds())
        assert spans is not None
        await spans.start()
        await TracedSend(Sender(Delivered(200)), spans)(SUBSCRIPTION, EVENT, 1)
        await spans.close()
        path, key, body = await asyncio.wait_for(taken.get(), 60)
    assert (path, key, spans.dropped) == ("/v1/traces", "planted-4", 0)
    [resource] = body.resource_spans
    assert {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"] == "mine"
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == ["POST"]
    assert b"planted" not in body.SerializeToString()


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    ("environment", "is_on", "problem"),
    [
        ({}, False, None),
        ({"OTEL_SERVICE_NAME": "mine"}, False, None),
        (ENDPOINT, True, None),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True, None),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False, None),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False, None),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True, None),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False, "'grpc' is not allowed; allowed: http/protobuf"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, False, "'zipkin' is not allowed; allowed: otlp, none"),
    ],
)
def test_the_environment_turns_spans_on(
    environment: dict[str, str], problem: str | None, caplog: pytest.LogCaptureFixture, *, is_on: bool
) -> None:
    with caplog.at_level(logging.WARNING):
        assert (spans_of(environment, "orders", WebhookIds()) is not None) == is_on
    assert [problem in each for each in caplog.messages if problem] == ([] if problem is None else [True])


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("pipeline.observability.tracing.find_spec", lambda _: None)
    assert spans_of(ENDPOINT, "orders", WebhookIds()) is None
    assert "pip install 'webhook-pipeline[otel]'" in caplog.text
