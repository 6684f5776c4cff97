"""Clients whose connection to a broker is lost at the moment of a request."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from pipeline.kafka import lost_connections
from tests.support.brokers import TestBroker
from tests.support.virtual_time import in_virtual_time

TRIES = 20
"""How many refreshes fail. A single failure might hit a periodic refresh, not the one that the test causes."""


async def error_right_after_the_loss(bootstrap: str) -> BaseException | None:
    """The error of a request between the loss of its connection and the moment when aiokafka notices the loss."""
    host, _, port = bootstrap.rpartition(":")
    connection = await create_conn(host, int(port))
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[None] = loop.create_future()

    def request() -> None:
        try:
            connection.send(MetadataRequest([])).close()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            answered.set_exception(error)
        else:
            answered.set_result(None)

    def lost(error: BaseException | None) -> None:
        handle(error)
        loop.call_soon(request)

    handle, connection._protocol.connection_lost = connection._protocol.connection_lost, lost
    connection._writer.transport.abort()
    await asyncio.wait([answered])
    return answered.exception()


async def test_a_request_on_a_lost_connection_is_refused(embedded: TestBroker) -> None:
    error = await asyncio.to_thread(uvloop.run, error_right_after_the_loss(embedded.bootstrap))
    assert isinstance(error, KafkaConnectionError), repr(error)


@pytest.fixture
def unexpected(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Requests for metadata raise an unexpected error as long as this list is not empty. Each takes one item."""
    send = AIOKafkaConnection.send
    planned: list[str] = []

    def broken(connection: Any, request: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(request, MetadataRequest) and planned:
            raise ValueError(planned.pop())
        return send(connection, request, *arguments, **options)

    monkeypatch.setattr(AIOKafkaConnection, "send", broken)
    monkeypatch.setattr(lost_connections, "REFRESH_PAUSE_SECONDS", 0.0)
    yield planned
    assert not planned


async def test_metadata_is_refreshed_after_an_unexpected_error(
    embedded: TestBroker, unexpected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    await embedded.create_topic("events")
    async with AIOKafkaProducer(**embedded.connection.client_options()) as producer:
        unexpected.append("of ours")
        assert not await producer.client.force_metadata_update()
        unexpected += ["of ours"] * TRIES
        await producer.send_and_wait("events", b"a")  # the producer has to look up the leader of the new topic
    assert caplog.text.count("could not be refreshed") == 1


async def test_an_unsupported_request_keeps_the_connection(embedded: TestBroker) -> None:
    host, _, port = embedded.bootstrap.rpartition(":")
    connection = await create_conn(host, int(port))
    connection._versions = {MetadataRequest.API_KEY: (99, 99)}
    with pytest.raises(NotImplementedError):
        await connection.send(MetadataRequest([]))
    assert connection.connected()
    connection.close()


@in_virtual_time
async def test_a_refresh_that_always_fails_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka tries again at once if the topics have changed in the meantime."""

    async def fail(*_arguments: object) -> bool:
        raise ValueError("of ours")

    monkeypatch.setattr(lost_connections, "_update", fail)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert not await AIOKafkaClient._metadata_update(object(), None, None)
    assert loop.time() == began + lost_connections.REFRESH_PAUSE_SECONDS
