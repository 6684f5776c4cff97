"""Makes OpenTelemetry spans of delivery attempts, with the optional packages of the extra `otel`.

Each attempt is a span of kind CLIENT. It continues the trace of the record's `traceparent` and `tracestate`. The
receiver gets the `traceparent` of this span, not the record's. A thread exports spans from a bounded queue with OTLP
over HTTP. Spans that do not fit are dropped and counted, so a delivery never waits for a collector.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit

from pipeline.core.delivery import Send
from pipeline.core.model import Event, PlainEvent
from pipeline.core.outcome import Delivered, Failed, NotPermitted, Outcome, describe, http_status
from pipeline.core.redaction import mask, shown_url
from pipeline.core.subscription import Subscription
from pipeline.core.webhook_ids import WebhookIds

logger = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 5.0
"""How long a stopping worker waits for the collector to accept the last spans."""
MOST_WAITING: Final = 2048
"""The specification's default of OTEL_BSP_MAX_QUEUE_SIZE."""
PROTOCOL: Final = "http/protobuf"
_CONTEXT_HEADERS: Final = frozenset({"traceparent", "tracestate"})

MakeExporter = Callable[[], Any]


class Spans:
    """Makes and exports spans. SDK objects have the type `Any`, because the packages may be missing.

    Args:
        environment: the variables OTEL_*. The SDK reads most of them itself.
        app: the name of the application, which is the default of the service name.
        ids: finds the webhook-id of an event.
    """

    def __init__(
        self, environment: Mapping[str, str], app: str, ids: WebhookIds, make_exporter: MakeExporter | None = None
    ) -> None:
        self._environment = environment
        self._app = app
        self._ids = ids
        self._make_exporter = make_exporter or _otlp_exporter
        size = environment.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
        self._most = int(size) if size.isdecimal() and int(size) else MOST_WAITING
        self._exporter: _CountedExporter | None = None
        self._provider: Any = None
        self._tracer: Any = None
        self._propagator: Any = None
        self._kind: Any = None
        self._error: Any = None
        self._ended = self._without_room = 0

    @property
    def dropped(self) -> int:
        """The number of spans that did not fit into the queue or that the collector did not accept."""
        return self._without_room + (0 if self._exporter is None else self._exporter.failed)

    async def start(self) -> None:
        """Load the SDK, and begin to export."""
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - optional
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        named = "OTEL_SERVICE_NAME" in self._environment
        named = named or "service.name=" in self._environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
        self._exporter = _CountedExporter(self._make_exporter())
        exporter: Any = self._exporter
        self._provider = TracerProvider(
            resource=Resource.create({} if named else {"service.name": self._app}),
            shutdown_on_exit=False,  # it could wait for an unresponsive collector
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=self._most))
        self._propagator = TraceContextTextMapPropagator()
        self._kind = SpanKind.CLIENT
        self._error = lambda text: Status(StatusCode.ERROR, text)
        self._tracer = self._provider.get_tracer("webhook-pipeline")

    async def close(self) -> None:
        """Export the queued spans, for at most `CLOSE_SECONDS`."""
        provider, self._tracer = self._provider, None
        if provider is None:
            return
        loop, is_done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            provider.shutdown()
            if not loop.is_closed():
                loop.call_soon_threadsafe(is_done.set)

        # This is a daemon thread: at its end, an event loop waits for the threads of its executor.
        threading.Thread(target=shut_down, name="spans-shutdown", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await is_done.wait()
        except TimeoutError:
            logger.warning("traces: the collector did not accept the last spans within %.0f s", CLOSE_SECONDS)

    def begin(self, subscription: Subscription, event: Event, attempt: int) -> tuple[Any, Event]:
        """Begin the span of an attempt.

        Returns the span, if any, and the event with the headers that continue the span.
        """
        if self._tracer is None:
            return None, event
        carrier: dict[str, list[str]] = {}
        others = []
        for name, value in event.headers:
            if (lowered := name.lower()) in _CONTEXT_HEADERS:
                carrier.setdefault(lowered, []).append((value or b"").decode("latin-1"))  # Kafka knows null values
            else:
                others.append((name, value))
        parent = self._propagator.extract(carrier)
        attributes = self._attributes(subscription, event, attempt)
        span = self._tracer.start_span("POST", context=parent, kind=self._kind, attributes=attributes)
        sent: dict[str, str] = {}
        self._propagator.inject(sent, context=_in_context(span))
        headers = [*others, *((name, value.encode("latin-1")) for name, value in sent.items())]
        return span, PlainEvent(
            event.topic, event.partition, event.offset, event.key, event.value, headers, event.timestamp
        )

    def _attributes(self, subscription: Subscription, event: Event, attempt: int) -> dict[str, str | int]:
        url = shown_url(subscription.url)
        where = urlsplit(url)
        found: dict[str, str | int] = {
            "http.request.method": "POST",
            "url.full": mask(url),
            "server.address": where.hostname or "",
            "server.port": where.port or (443 if where.scheme == "https" else 80),
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": event.topic,
            "messaging.destination.partition.id": str(event.partition),
            "messaging.kafka.offset": event.offset,
            "messaging.message.id": self._ids.of(event),
            "webhooks.subscription.id": subscription.id,
        }
        if attempt > 1:
            found["http.request.resend_count"] = attempt - 1
        return found

    def end(self, span: Any, outcome: Outcome | None) -> None:
        """End the span of an attempt. Without *outcome*, the attempt was cancelled."""
        if not span.is_recording():
            return
        taken = 0 if self._exporter is None else self._exporter.taken
        if self._ended - taken >= self._most:
            self._without_room += 1  # the span is dropped
            return
        status = None if outcome is None else http_status(outcome)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if not isinstance(outcome, Delivered):
            span.set_attribute("error.type", _error_type(outcome))
            span.set_status(self._error("the attempt was cancelled" if outcome is None else describe(outcome)))
        self._ended += 1
        span.end()


class TracedSend:
    """Makes a span of each attempt. If that fails, the error is logged, and the attempt is made without a span.

    Args:
        send: makes the attempt.
        spans: the maker of spans, which the caller has started.
    """

    def __init__(self, send: Send, spans: Spans) -> None:
        self._send = send
        self._spans = spans
        self._has_failed = False

    async def __call__(
        self, subscription: Subscription, event: Event, attempt: int, *, renew_token: bool = False
    ) -> Outcome:
        """The outcome of the attempt."""
        span, sent = self._begin(subscription, event, attempt)
        outcome: Outcome | None = None
        try:
            outcome = await self._send(subscription, sent, attempt, renew_token=renew_token)
            return outcome
        finally:
            if span is not None:
                self._end(span, outcome)

    def _begin(self, subscription: Subscription, event: Event, attempt: int) -> tuple[Any, Event]:
        try:
            return self._spans.begin(subscription, event, attempt)
        except Exception:
            if not self._has_failed:
                logger.exception("traces: a span could not be begun; this failure is logged only once")
            self._has_failed = True
            return None, event

    def _end(self, span: Any, outcome: Outcome | None) -> None:
        try:
            self._spans.end(span, outcome)
        except Exception:
            if not self._has_failed:
                logger.exception("traces: a span could not be ended; this failure is logged only once")
            self._has_failed = True


class _CountedExporter:
    """Counts the spans that an exporter gets, and those that it fails to send. Used in the exporter's thread only."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.taken = 0
        self.failed = 0

    def export(self, spans: Sequence[Any]) -> Any:
        self.taken += len(spans)
        result, is_done = None, False
        try:
            result = self._inner.export(spans)
            is_done = result.name == "SUCCESS"
        finally:
            self.failed += 0 if is_done else len(spans)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._inner.force_flush(timeout_millis))


def spans_of(environment: Mapping[str, str], app: str, ids: WebhookIds) -> Spans | None:
    """The maker of spans; None if tracing is not configured, or if the configuration is not supported, which is logged.

    `OTEL_TRACES_EXPORTER=otlp` or an endpoint configures tracing.
    """
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    endpoint = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environment.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not (exporter or endpoint) or exporter == "none" or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    problem = None
    if exporter not in {"", "otlp"}:
        problem = f"OTEL_TRACES_EXPORTER: {exporter!r} is not allowed; allowed: otlp, none"
    elif protocol not in {None, PROTOCOL}:
        problem = f"OTEL_EXPORTER_OTLP_PROTOCOL: {protocol!r} is not allowed; allowed: {PROTOCOL}"
    elif not _is_installed():
        problem = "OpenTelemetry is not installed: pip install 'webhook-pipeline[otel]'"
    if problem is None:
        return Spans(environment, app, ids)
    logger.warning("traces: %s; no spans are recorded", problem)
    return None


def _is_installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def _otlp_exporter() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional

    return OTLPSpanExporter()


def _in_context(span: Any) -> Any:
    from opentelemetry.trace import set_span_in_context  # noqa: PLC0415 - optional

    return set_span_in_context(span)


def _error_type(outcome: Outcome | None) -> str:
    if outcome is None:
        return "cut-short"
    status = http_status(outcome)
    if status is not None:
        return str(status)
    if isinstance(outcome, Failed):
        return "timeout" if outcome.timed_out else "exchange"
    return "handshake" if isinstance(outcome, NotPermitted) else "token"
