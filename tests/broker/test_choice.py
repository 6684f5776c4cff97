"""A subscription can choose its events with a filter. A receiver can refuse all events in the handshake."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from pipeline.cli.dev.receiver import Receiver
from pipeline.core.model import Status
from tests.support.brokers import TestBroker
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Recorder

pytestmark = pytest.mark.timeout(120)

HANDSHAKE = {"handshake": {"origin": "events.example.com"}}
PAID_IN_EUROPE = {
    "filter": {"all": [{"exact": {"type": "paid"}}, {"prefix": {"header.region": "eu-"}}, {"exact": {"/order/n": "7"}}]}
}


@pytest.fixture
async def plain(broker: TestBroker, unique_name: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster with one worker, at-least-once, and without a dead-letter topic."""
    async with cluster(broker, unique_name("choice"), tmp_path) as found:
        await found.start_worker()
        await found.until_ready()
        yield found


async def test_only_matching_events_are_sent_and_others_are_counted(plain: Cluster, recorder: Recorder) -> None:
    await plain.subscribe(recorder, "sub-1", endpoint=PAID_IN_EUROPE)
    wanted = b'{"order": {"n": 7}}'
    records = [
        (wanted, "paid", "us-1"),
        (wanted, "sent", "eu-1"),
        (b'{"order": {"n": 8}}', "paid", "eu-1"),
        (b"not JSON", "paid", "eu-1"),
        (wanted, "paid", "eu-1"),
    ]
    producer = AIOKafkaProducer(acks="all", **plain.broker.connection.client_options())
    await producer.start()
    try:
        for body, kind, region in records:
            headers = [("ce_type", kind.encode()), ("region", region.encode())]
            await producer.send_and_wait(plain.topic, body, b"sub-1", partition=0, headers=headers)
    finally:
        await producer.stop()
    await recorder.until_events(1)
    [call] = recorder.calls
    assert (call.body, call.headers["ce-type"], call.headers["region"]) == (wanted, "paid", "eu-1")
    assert call.offset == len(records) - 1
    metrics = await plain.workers[0].text("/metrics")
    assert 'webhooks_deliveries_total{outcome="filtered"} 4.0' in metrics


async def any_id() -> list[str]:
    return ["sub-1"]


async def test_a_receiver_is_asked_for_permission_first(plain: Cluster) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    receiver = Receiver(socket.create_server(("127.0.0.1", 0)), said.put_nowait, {}, any_id)
    await receiver.start()
    try:
        document = {
            "id": "sub-1",
            "configuration": {
                "entrypointId": "webhook-advanced",
                "entrypointConfiguration": {"callbackUrl": f"http://{receiver.address}/hook", **HANDSHAKE},
            },
        }
        await plain.store.apply(document)
        await plain.produce([("sub-1", b"a"), ("sub-1", b"b")], partition=0)
        async with asyncio.timeout(45):
            lines = [await said.get() for _ in range(3)]
    finally:
        await receiver.stop()
    assert lines[0] == "permitted events.example.com"
    assert [line.split()[:2] for line in lines[1:]] == [["received", "sub-1"]] * 2


async def test_a_receiver_that_permits_nothing_gets_nothing(plain: Cluster, recorder: Recorder) -> None:
    """The recorder accepts only POST."""
    await plain.subscribe(recorder, "sub-1", endpoint=HANDSHAKE)
    await plain.produce([("sub-1", b"a"), ("sub-1", b"b")], partition=0)
    row = await plain.until_row("sub-1", status=Status.FAILURE)
    assert row.cause is not None
    assert row.cause.kind == "handshake"
    assert row.cause.message == "the receiver does not permit calls: it answered 405 to OPTIONS"
    assert recorder.calls == []
    await plain.subscribe(recorder, "sub-1")
    await recorder.until_events(2)
    assert [call.body for call in recorder.calls] == [b"a", b"b"]
