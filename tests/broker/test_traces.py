"""Spans of a worker process on an embedded broker, from a record's traceparent to the receiver and the collector."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.brokers import TestBroker
from tests.support.cluster import cluster
from tests.support.recorder import Recorder

pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

pytestmark = pytest.mark.timeout(300)

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


async def test_a_worker_sends_spans_to_its_collector(
    embedded: TestBroker, unique_name: Callable[[str], str], tmp_path: Path, recorder: Recorder
) -> None:
    taken: asyncio.Queue[ExportTraceServiceRequest] = asyncio.Queue()

    async def collect(request: web.Request) -> web.Response:
        taken.put_nowait(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")

    collector = web.Application()
    collector.router.add_post("/v1/traces", collect)
    async with TestServer(collector) as server, cluster(embedded, unique_name("traces"), tmp_path) as running:
        endpoint = str(server.make_url("/")).rstrip("/")
        worker = await running.start_worker(environment={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        await running.until_ready()
        await running.subscribe(recorder, "sub-1")
        async with embedded.producer() as producer:
            headers = [("traceparent", PARENT.encode())]
            await producer.send_and_wait(running.topic, b"{}", key=b"sub-1", headers=headers)
        await recorder.until(lambda: len(recorder.calls) == 1)
        received = await asyncio.wait_for(taken.get(), 120)
        [span] = [span for each in received.resource_spans for scope in each.scope_spans for span in scope.spans]
        assert recorder.calls[0].headers["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"
        assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT.split("-")[2])
        assert "webhooks_spans_dropped_total 0.0" in await worker.text("/metrics")
